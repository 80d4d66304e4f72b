// The C++ client of breakerd. A worker asks before a call to a dependency that can fail, and tells
// how the call went; when it fails too often the circuit opens for all workers at once.
//
//   breaker::Client client({.target = "127.0.0.1:50051"});
//   absl::StatusOr<User> user = client.Execute(
//       {"users", "get"},                     // which dependency
//       [&] { return FetchUser(id); },        // the guarded call: StatusOr<User>, or User
//       [&] { return cache.Lookup(id); });    // instead of it while the circuit is open
//
// While a circuit is closed, or open with time left, the client knows that from the daemon's
// stream: a call costs no round trip and its outcome is sent with others', failures at once. Else
// it asks the daemon. See Mode.
//
// A breaker must not break its callers: each question to the daemon has a deadline (50 ms), and
// when the daemon is away, a breaker of the worker's own decides (or see OnDaemonUnavailable)
// without waiting for it.
#ifndef BREAKER_CLIENT_H_
#define BREAKER_CLIENT_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace breaker {

namespace internal {
class Cache;
class Cell;
class Daemon;
struct CellAnswer;
}  // namespace internal

// Names a breaker: 1 to 128 bytes of UTF-8 each, without control characters.
struct Key {
  std::string service;
  std::string operation;

  friend bool operator==(const Key&, const Key&) = default;
};

enum class State { kClosed, kOpen, kHalfOpen };

// "CLOSED", "OPEN" or "HALF_OPEN".
std::string_view StateName(State state);

// How a guarded call ended. kIgnored gives the permit back and counts nothing: the caller's own
// mistake, a cancelled call.
enum class Outcome { kSuccess, kFailure, kIgnored };

// When a circuit opens and how it recovers. An unset field takes the default given with it; an
// explicit 0 switches a rule off where it says so. Bounds are checked by the daemon.
struct Policy {
  enum class FailureCounting { kConsecutive, kWindowed };

  std::optional<uint32_t> failure_threshold = {};             // 5 failures; 0 = off
  std::optional<absl::Duration> recovery_timeout = {};        // 30 s OPEN before a probe
  std::optional<absl::Duration> expected_response_time = {};  // 1 s; longer is slow
  std::optional<absl::Duration> monitoring_window = {};       // 60 s
  std::optional<uint32_t> minimum_request_count = {};         // 5 calls in the window
  std::optional<FailureCounting> failure_counting = {};       // kConsecutive
  std::optional<double> failure_rate_threshold = {};          // 0 = off; in (0, 1]
  std::optional<double> slow_call_rate_threshold = {};        // 0 = off; in (0, 1]
  std::optional<bool> slow_calls_are_failures = {};           // false
  std::optional<uint32_t> half_open_max_probes = {};          // 1 in flight across the fleet
  std::optional<uint32_t> half_open_success_threshold = {};   // 1 closes the circuit
  std::optional<absl::Duration> permit_timeout = {};          // 30 s, then abandoned
  std::optional<double> recovery_backoff_multiplier = {};     // 1 = the OPEN time does not grow
  std::optional<absl::Duration> max_recovery_timeout = {};    // 5 min, cap of that growth
  std::optional<double> recovery_jitter = {};                 // 0; in [0, 1)
  std::optional<uint32_t> minimum_failing_workers = {};       // 1 = no quorum
  std::optional<absl::Duration> recovery_ramp = {};           // 0 = off
  std::optional<bool> shadow = {};                            // false; true = refuse nothing

  friend bool operator==(const Policy&, const Policy&) = default;
};

// One change of state, or an operator's act.
struct Transition {
  State from = State::kClosed;
  State to = State::kClosed;
  absl::Time time;
  std::string cause;   // by the contract's name, such as "CONSECUTIVE_FAILURES"
  std::string reason;  // one English sentence with the numbers that decided it
  uint64_t generation = 0;
};

// An operator's hand on a breaker.
struct Override {
  bool forced_open = false;  // else forced closed
  std::string reason;
  std::string actor;
  std::optional<absl::Time> expires_at;  // unset = never
};

// All there is to know about one breaker at one instant.
struct Stats {
  enum class PolicySource { kBuiltIn, kWorker, kOperator };

  // Since the breaker was created, across restarts of the daemon.
  struct Lifetime {
    uint64_t successes = 0;
    uint64_t failures = 0;
    uint64_t rejected = 0;
    uint64_t ignored = 0;
    uint64_t abandoned = 0;  // permits that were not reported in time
    uint64_t stale = 0;      // reports that came after the state had changed
    uint64_t times_opened = 0;
  };

  Key key;
  State state = State::kClosed;
  uint64_t generation = 0;  // grows by one at every change of state

  // In the monitoring window.
  uint64_t total_requests = 0;
  uint64_t success_count = 0;
  uint64_t failure_count = 0;
  uint64_t slow_count = 0;
  double failure_rate = 0;
  uint32_t consecutive_failures = 0;
  uint32_t failing_workers = 0;

  uint32_t in_flight = 0;    // permits out
  double ramp_fraction = 1;  // share of calls admitted now
  std::optional<absl::Time> last_failure_time;
  std::optional<absl::Time> last_success_time;
  std::optional<absl::Time> next_attempt_time;  // only while OPEN
  std::string last_failure_error;

  Lifetime lifetime;
  Policy policy;  // the one in effect, every field set
  PolicySource policy_source = PolicySource::kBuiltIn;
  std::optional<Override> override;
  std::vector<Transition> recent_transitions;  // newest first
};

// Decides how a call counts that ended with this status (OK included).
using Verdict = std::function<Outcome(const absl::Status&)>;

// OK is a success. The caller's own mistakes are ignored: INVALID_ARGUMENT, NOT_FOUND,
// ALREADY_EXISTS, PERMISSION_DENIED, UNAUTHENTICATED, FAILED_PRECONDITION, OUT_OF_RANGE, CANCELLED.
// Every other code is a failure.
Outcome DefaultVerdict(const absl::Status& status);

// Where calls are decided.
enum class Mode {
  // By what the daemon's stream has said last, for as long as it is heard from: it is not believed
  // after three heartbeats (3 s by default) of silence. CLOSED allows and records locally, OPEN and
  // HALF_OPEN refuse locally until it is worth asking, and then the daemon decides who probes. The
  // first call on each breaker asks, and so does one that brings another policy than the last.
  //
  // Outcomes are sent within about a millisecond when one of them is a failure, else every 100 ms
  // or
  // 4096 calls, and when the Client ends. Each counts once, even if the daemon is killed meanwhile.
  //
  // The price: between the outcome that opens a circuit and the news of it (a round trip and a
  // millisecond) a worker may let a few more calls through. Calls that are refused locally do not
  // show in Stats::lifetime.rejected, and Stats lack what has not been sent yet.
  kCached,
  // Each call asks the daemon, and each outcome is told it at once: two round trips a call. For
  // processes that make few calls, and for exact counts.
  kRemote,
};

// What becomes of a call when the daemon cannot be asked.
enum class OnDaemonUnavailable {
  kAllow,
  kDeny,
  // A breaker of this client's own decides, under the policy that was in effect. It begins as the
  // daemon's was known last: an OPEN circuit stays so for what is left of its time, and then
  // probes. What it has seen is forgotten when the daemon is back.
  kLocal,
};

// TLS to the daemon, whose certificate is always checked. The files are in PEM and looked at every
// second: what they hold then is for the connections that are made from then on.
struct TlsOptions {
  std::string ca_file = {};           // signs the daemon's certificate; empty = the system's roots
  std::string certificate_file = {};  // the client's own, with its chain; only with the next
  std::string key_file = {};
  std::string server_name = {};  // in the daemon's certificate, if not the target's host
};

struct ClientOptions {
  std::string target = "127.0.0.1:50051";
  std::optional<TlsOptions> tls = {};  // unset = plaintext
  // The secret by which the daemon knows who asks, or a file with it that is read again every
  // second, and kept by its last good content. It goes over TLS alone, unless the last says else.
  std::string token = {};
  std::string token_file = {};
  bool token_over_plaintext = false;
  // The same for all calls of one worker; quorum counts distinct ones. Empty = "<hostname>:<pid>".
  std::string worker_id = {};
  // The longest that one question or report may hold up the caller.
  absl::Duration rpc_timeout = absl::Milliseconds(50);
  OnDaemonUnavailable on_daemon_unavailable = OnDaemonUnavailable::kLocal;
  // For calls that bring none of their own.
  std::optional<Policy> policy = {};
  Verdict verdict = DefaultVerdict;
  Mode mode = Mode::kCached;
  // Breakers that this client knows at once, at about 1.5 kB each; calls of further ones are as in
  // kRemote, and allowed where kLocal would decide.
  size_t max_cached_breakers = 16'384;

  // The defaults, but what the environment says: BREAKERD_TARGET, BREAKERD_TLS_CA (a file, or
  // "system"; set = TLS), BREAKERD_CLIENT_CERT, BREAKERD_CLIENT_KEY, BREAKERD_TLS_SERVER_NAME,
  // BREAKERD_TOKEN or BREAKERD_TOKEN_FILE, BREAKERD_TOKEN_OVER_PLAINTEXT=1, BREAKERD_WORKER_ID.
  // Empty = not set. INVALID_ARGUMENT names the variable that is wrong, as Client::Create does.
  static absl::StatusOr<ClientOptions> FromEnvironment();
};

// What one Execute does otherwise than its Client.
struct CallOptions {
  Verdict verdict = {};  // empty = the client's
  // Run the fallback after a failure too, and not only when the circuit refuses.
  bool fallback_on_failure = false;
};

// Whether `status` says that a circuit breaker refused the call, and not that the call failed.
bool IsRefusal(const absl::Status& status);
// After which time it is worth asking again; zero if `status` is not a refusal.
absl::Duration RefusalRetryAfter(const absl::Status& status);

// The answer of Acquire. Give exactly one verdict on an allowed one; a permit that is destroyed
// without is given back as ignored, and later verdicts change nothing. The verdict on a call that
// the daemon itself allowed (a probe, or any in Mode::kRemote) is lost if it cannot reach the
// daemon within the client's rpc_timeout: the daemon then abandons the permit. Movable, not
// thread-safe; must not outlive its Client.
class Permit {
 public:
  Permit(Permit&& other) noexcept
      : allowed_(other.allowed_),
        probe_(other.probe_),
        shadow_(other.shadow_),
        daemon_unavailable_(other.daemon_unavailable_),
        grantor_(std::exchange(other.grantor_, Grantor::kNone)),
        state_(other.state_),
        ticket_(other.ticket_),
        start_(other.start_),
        cell_(other.cell_),
        daemon_(other.daemon_),
        retry_after_(other.retry_after_),
        key_(std::move(other.key_)) {}
  Permit& operator=(Permit&& other) noexcept;
  ~Permit() { Ignore(); }

  // Whether the call may be made.
  bool allowed() const { return allowed_; }
  // Whether this call decides if the circuit closes or opens again.
  bool probe() const { return probe_; }
  // Allowed only because the policy is a shadow: it would have been refused. Not counted.
  bool shadow() const { return shadow_; }
  // The daemon could not be asked, or did not accept who asks, and
  // ClientOptions::on_daemon_unavailable decided. The daemon does not count it.
  bool daemon_unavailable() const { return daemon_unavailable_; }
  State state() const { return state_; }
  // When refused: how long to wait before asking again.
  absl::Duration retry_after() const { return retry_after_; }
  // OK when allowed; else UNAVAILABLE, for which IsRefusal holds.
  absl::Status status() const;

  void Success() { Report(Outcome::kSuccess); }
  void Failure(std::string_view label = {}) { Report(Outcome::kFailure, label); }
  void Ignore() { Report(Outcome::kIgnored); }
  // `label` names the error of a failure in at most 64 bytes of ASCII. `took` is how long the call
  // took; without it, the time since Acquire.
  void Report(Outcome outcome, std::string_view label = {},
              std::optional<absl::Duration> took = std::nullopt) {
    if (grantor_ != Grantor::kNone) Give(outcome, label, took);
  }

 private:
  friend class Client;

  // To whom the verdict goes.
  enum class Grantor : uint8_t { kNone, kDaemon, kCell, kLocalBreaker };

  Permit() = default;
  const Key& key() const;
  void Give(Outcome outcome, std::string_view label, std::optional<absl::Duration> took);

  bool allowed_ = false;
  bool probe_ = false;
  bool shadow_ = false;
  bool daemon_unavailable_ = false;
  Grantor grantor_ = Grantor::kNone;
  State state_ = State::kClosed;
  uint64_t ticket_ = 0;  // permit_id, or the generation if from a cell
  std::chrono::steady_clock::time_point start_;
  internal::Cell* cell_ = nullptr;      // Not owned. Null = the breaker is key_.
  internal::Daemon* daemon_ = nullptr;  // Not owned.
  absl::Duration retry_after_;
  std::unique_ptr<const Key> key_;
};

namespace internal {

// The result of a guarded function: Status for void and Status, else StatusOr<T>.
template <typename T>
struct ResultOf {
  using type = absl::StatusOr<T>;
};
template <>
struct ResultOf<void> {
  using type = absl::Status;
};
template <>
struct ResultOf<absl::Status> {
  using type = absl::Status;
};
template <typename T>
struct ResultOf<absl::StatusOr<T>> {
  using type = absl::StatusOr<T>;
};
template <typename Fn>
using Result = typename ResultOf<std::remove_cvref_t<std::invoke_result_t<Fn&>>>::type;

template <typename Result, typename Fn, typename... Args>
Result Run(Fn& fn, const Args&... args) {
  if constexpr (std::is_void_v<std::invoke_result_t<Fn&, const Args&...>>) {
    std::invoke(fn, args...);
    return absl::OkStatus();
  } else {
    return std::invoke(fn, args...);
  }
}

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

// The name of the exception's class.
std::string TypeName(const std::exception& error);

}  // namespace internal

// How the cache of a client is doing.
struct CacheStats {
  size_t breakers = 0;  // known at once
  // Outcomes that the daemon will never hear of, because it rejected them, did not permit them, or
  // was away while too many of too many kinds were waiting.
  uint64_t dropped_outcomes = 0;
};

// One channel to one daemon. Thread-safe; make one for the process and share it. In Mode::kCached
// it has a thread.
class Client {
 public:
  // INVALID_ARGUMENT names what is wrong with the options for TLS and the token: files that cannot
  // be used as they are now, a token without TLS.
  static absl::StatusOr<std::unique_ptr<Client>> Create(ClientOptions options);
  // Waits for such files. For options that contradict each other the daemon is away, for ever;
  // daemon_status() says why.
  explicit Client(ClientOptions options = {});
  // Sends the outcomes that were not sent yet, for at most a second.
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Asks whether a call may be made now. A refusal is a Permit too, and so is the answer when the
  // daemon is away, or does not accept who asks: on_daemon_unavailable decides, and daemon_status()
  // tells. `policy` is in effect unless an operator has set one.
  // Errors: INVALID_ARGUMENT names the field, the value and what is allowed; RESOURCE_EXHAUSTED:
  // a limit of the daemon, which it names; others as the daemon gives them.
  absl::StatusOr<Permit> Acquire(const Key& key,
                                 const std::optional<Policy>& policy = std::nullopt);

  // Reports a call that was made without asking. It counts while the circuit is closed.
  // Errors: UNAVAILABLE: the daemon is away and the report is lost; UNAUTHENTICATED and
  // PERMISSION_DENIED: it is not accepted; INVALID_ARGUMENT and RESOURCE_EXHAUSTED as above.
  absl::Status Report(const Key& key, Outcome outcome, absl::Duration took,
                      std::string_view label = {});

  // NOT_FOUND for a breaker that does not exist; UNAVAILABLE when the daemon is away.
  absl::StatusOr<Stats> GetStats(const Key& key);

  // OK, or why the daemon does not decide all calls now, as it was found last: UNAVAILABLE;
  // UNAUTHENTICATED: it does not know the token or certificate; PERMISSION_DENIED: what they stand
  // for may not do what was asked. Until that is put right the daemon is asked once a second, in
  // Mode::kRemote without kLocal with each call that is not permitted.
  absl::Status daemon_status() const;

  CacheStats cache_stats() const;

  // Runs `fn` if the circuit lets it, and reports how it went.
  //
  // `fn` returns StatusOr<T>, T, Status or void; the verdict looks at its status, and what is none
  // is a success. An exception counts as a failure and passes through.
  //
  // When the circuit refuses, the result is that of `fallback`, which returns what `fn` may return
  // and takes nothing or the reason, a const absl::Status&; without a fallback (or with nullptr) it
  // is an UNAVAILABLE status for which IsRefusal holds. With options.fallback_on_failure the
  // fallback also answers for a failure, and for a std::exception instead of letting it pass.
  //
  // Runs nothing and returns INVALID_ARGUMENT when key or policy are not valid. Every other error
  // of the daemon is met as if it were away.
  template <typename Fn, typename Fallback = std::nullptr_t>
  internal::Result<Fn> Execute(const Key& key, Fn&& fn, Fallback&& fallback = nullptr,
                               const std::optional<Policy>& policy = std::nullopt,
                               const CallOptions& options = {});

 private:
  // Acquire, except that only INVALID_ARGUMENT is an error.
  absl::StatusOr<Permit> Admit(const Key& key, const std::optional<Policy>& policy);
  // What a call brings, null if nothing.
  const Policy* PolicyOf(const std::optional<Policy>& policy) const;
  // Acquire where the cell, if there is one, does not allow the call at once.
  absl::StatusOr<Permit> AcquireSlowly(const Key& key, internal::Cell* cell, const Policy* policy,
                                       std::chrono::steady_clock::time_point now);
  // Acquire by the daemon.
  absl::StatusOr<Permit> Ask(const Key& key, internal::Cell* cell, const Policy* policy);
  // The permit for a call that a cell has decided.
  static Permit ByCell(internal::Cell* cell, const internal::CellAnswer& answer,
                       std::chrono::steady_clock::time_point now);
  // The permit for a call about which the daemon cannot be asked.
  Permit WithoutDaemon(const Key& key, internal::Cell* cell, const Policy* policy);
  // Gives the permit back with the verdict on `status`, and returns that.
  Outcome Conclude(const absl::Status& status, const Verdict& verdict, Permit& permit) const;

  const ClientOptions options_;
  const std::unique_ptr<internal::Daemon> daemon_;
  const std::unique_ptr<internal::Cache> cache_;
};

// ---------------------------------------------------------------------------------------------

template <typename Fn, typename Fallback>
internal::Result<Fn> Client::Execute(const Key& key, Fn&& fn, Fallback&& fallback,
                                     const std::optional<Policy>& policy,
                                     const CallOptions& options) {
  using Result = internal::Result<Fn>;
  constexpr bool kHasFallback = !std::is_same_v<std::remove_cvref_t<Fallback>, std::nullptr_t>;
  const auto fall_back = [&](const absl::Status& reason) -> Result {
    if constexpr (!kHasFallback) {
      return reason;
    } else if constexpr (std::is_invocable_v<Fallback&, const absl::Status&>) {
      return internal::Run<Result>(fallback, reason);
    } else {
      return internal::Run<Result>(fallback);
    }
  };
  const bool falls_back_on_failure = kHasFallback && options.fallback_on_failure;

  absl::StatusOr<Permit> permit = Admit(key, policy);
  if (!permit.ok()) return permit.status();
  if (!permit->allowed()) return fall_back(permit->status());

  std::optional<Result> result;
  try {
    result.emplace(internal::Run<Result>(fn));
  } catch (const std::exception& error) {
    permit->Failure(internal::TypeName(error));
    if (!falls_back_on_failure) throw;
    return fall_back(absl::UnknownError(error.what()));
  } catch (...) {
    permit->Failure("exception");
    throw;
  }
  const absl::Status& status = internal::StatusOf(*result);
  if (Conclude(status, options.verdict, *permit) == Outcome::kFailure && falls_back_on_failure) {
    return fall_back(status);
  }
  return *std::move(result);
}

}  // namespace breaker

#endif  // BREAKER_CLIENT_H_
