#include "server/http/metrics.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <sstream>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "server/http/process_usage.h"
#include "server/survey.h"

namespace breaker::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr State kStates[] = {State::kClosed, State::kOpen, State::kHalfOpen};

void SetValue(MetricType type, double value, ClientMetric* metric) {
  (type == MetricType::Counter ? metric->counter.value : metric->gauge.value) = value;
}

// Writes families that are made up while they are asked for.
class FamilyWriter {
 public:
  explicit FamilyWriter(std::ostream* out) : out_(out) {}

  void Write(const std::vector<MetricFamily>& families) { serializer_.Serialize(*out_, families); }

  // One value without labels.
  void WriteGauge(const char* name, const char* help, double value) {
    WriteOne(MetricType::Gauge, name, help, value);
  }
  void WriteCounter(const char* name, const char* help, double value) {
    WriteOne(MetricType::Counter, name, help, value);
  }

 private:
  void WriteOne(MetricType type, const char* name, const char* help, double value) {
    ClientMetric metric;
    SetValue(type, value, &metric);
    Write({MetricFamily{name, help, type, {metric}}});
  }

  std::ostream* const out_;
  const prometheus::TextSerializer serializer_;
};

// Writes families that have a value, or some, for every breaker. The labels that name the breakers
// are made once for all families, for they are most of what there is to make.
class BreakerFamilies {
 public:
  BreakerFamilies(const std::vector<BreakerStats>* breakers, FamilyWriter* writer)
      : breakers_(breakers), writer_(writer) {}

  // One value a breaker.
  void Write(MetricType type, const char* name, const char* help,
             absl::FunctionRef<double(const BreakerStats&)> value) {
    MetricFamily& family = Begin(type, name, help, &plain_, "", {""});
    for (size_t i = 0; i < breakers_->size(); ++i) {
      SetValue(type, value((*breakers_)[i]), &family.metric[i]);
    }
    writer_->Write(plain_);
  }

  // One value a breaker for each of `values`, which a label tells apart.
  void Write(MetricType type, const char* name, const char* help, const char* label,
             const std::vector<const char*>& values,
             absl::FunctionRef<double(const BreakerStats&, size_t)> value) {
    std::vector<MetricFamily> families;
    MetricFamily& family = Begin(type, name, help, &families, label, values);
    size_t next = 0;
    for (const BreakerStats& stats : *breakers_) {
      for (size_t i = 0; i < values.size(); ++i) {
        SetValue(type, value(stats, i), &family.metric[next++]);
      }
    }
    writer_->Write(families);
  }

  // As many values as `add` adds of a breaker, each with labels beside those that name it.
  using Add = absl::FunctionRef<void(std::vector<ClientMetric::Label>, double)>;
  void WriteSome(MetricType type, const char* name, const char* help,
                 absl::FunctionRef<void(const BreakerStats&, Add)> visit) {
    MetricFamily family{name, help, type, {}};
    for (const BreakerStats& stats : *breakers_) {
      visit(stats, [&](std::vector<ClientMetric::Label> labels, double value) {
        ClientMetric& metric = family.metric.emplace_back();
        metric.label = LabelsOf(stats.key);
        for (ClientMetric::Label& label : labels) metric.label.push_back(std::move(label));
        SetValue(type, value, &metric);
      });
    }
    writer_->Write({family});
  }

 private:
  static std::vector<ClientMetric::Label> LabelsOf(const Key& key) {
    return {{"service", key.service}, {"operation", key.operation}};
  }

  MetricFamily& Begin(MetricType type, const char* name, const char* help,
                      std::vector<MetricFamily>* families, const char* label,
                      const std::vector<const char*>& values) {
    if (families->empty()) {
      MetricFamily& family = families->emplace_back();
      family.metric.reserve(breakers_->size() * values.size());
      for (const BreakerStats& stats : *breakers_) {
        for (const char* value : values) {
          ClientMetric& metric = family.metric.emplace_back();
          metric.label = LabelsOf(stats.key);
          if (*label != '\0') metric.label.push_back({label, value});
        }
      }
    }
    MetricFamily& family = families->front();
    family.name = name;
    family.help = help;
    family.type = type;
    return family;
  }

  const std::vector<BreakerStats>* const breakers_;
  FamilyWriter* const writer_;
  std::vector<MetricFamily>
      plain_;  // with the labels that name the breakers; made by the first use
};

void WriteBreakers(const Survey& survey, const TransitionCounter& transitions,
                   FamilyWriter* writer) {
  BreakerFamilies families(&survey.breakers, writer);
  const auto gauge = [&](const char* name, const char* help,
                         absl::FunctionRef<double(const BreakerStats&)> value) {
    families.Write(MetricType::Gauge, name, help, value);
  };
  const auto counter = [&](const char* name, const char* help,
                           absl::FunctionRef<double(const BreakerStats&)> value) {
    families.Write(MetricType::Counter, name, help, value);
  };
  families.Write(MetricType::Gauge, "breakerd_breaker_state",
                 "1 for the state that the circuit is in, 0 for the others.", "state",
                 {Name(kStates[0]), Name(kStates[1]), Name(kStates[2])},
                 [](const BreakerStats& s, size_t i) { return s.state == kStates[i] ? 1 : 0; });
  families.WriteSome(MetricType::Gauge, "breakerd_breaker_override",
                     "1 while an operator forces the circuit.",
                     [](const BreakerStats& s, BreakerFamilies::Add add) {
                       if (s.override.has_value()) add({{"mode", Name(s.override->mode)}}, 1);
                     });
  families.WriteSome(MetricType::Gauge, "breakerd_breaker_shadow",
                     "1 while the policy is on trial: no call is refused.",
                     [](const BreakerStats& s, BreakerFamilies::Add add) {
                       if (s.policy->shadow) add({}, 1);
                     });
  families.Write(MetricType::Gauge, "breakerd_breaker_window_calls",
                 "Calls in the monitoring window.", "outcome", {"success", "failure"},
                 [](const BreakerStats& s, size_t i) {
                   return i == 0 ? s.window.successes : s.window.failures;
                 });
  gauge("breakerd_breaker_window_slow_calls", "Slow calls in the monitoring window.",
        [](const BreakerStats& s) { return s.window.slow; });
  gauge("breakerd_breaker_failure_ratio", "Failures among the calls in the monitoring window.",
        FailureRate);
  families.WriteSome(MetricType::Gauge, "breakerd_breaker_failure_ratio_threshold",
                     "At which ratio of failures the circuit opens, where its policy says so.",
                     [](const BreakerStats& s, BreakerFamilies::Add add) {
                       const double threshold = s.policy->failure_rate_threshold;
                       if (threshold > 0) add({}, threshold);
                     });
  gauge("breakerd_breaker_consecutive_failures", "Failures in a row.",
        [](const BreakerStats& s) { return s.consecutive_failures; });
  gauge("breakerd_breaker_failing_workers",
        "Distinct workers with a failed call in the monitoring window.",
        [](const BreakerStats& s) { return s.failing_workers; });
  gauge("breakerd_breaker_in_flight", "Permits out, not yet reported.",
        [](const BreakerStats& s) { return s.in_flight; });
  families.Write(
      MetricType::Counter, "breakerd_breaker_calls_total",
      "Calls since the breaker was created, across restarts.", "outcome",
      {"success", "failure", "ignored"}, [](const BreakerStats& s, size_t i) {
        const uint64_t counts[] = {s.lifetime.successes, s.lifetime.failures, s.lifetime.ignored};
        return static_cast<double>(counts[i]);
      });
  counter("breakerd_breaker_rejected_calls_total", "Calls refused by the daemon.",
          [](const BreakerStats& s) { return s.lifetime.rejected; });
  counter("breakerd_breaker_abandoned_permits_total", "Permits that no report came for.",
          [](const BreakerStats& s) { return s.lifetime.abandoned; });
  counter("breakerd_breaker_stale_reports_total",
          "Reports of calls that an earlier state of the circuit let through.",
          [](const BreakerStats& s) { return s.lifetime.stale; });
  counter("breakerd_breaker_opened_total", "Times that the circuit opened.",
          [](const BreakerStats& s) { return s.lifetime.times_opened; });
  families.WriteSome(
      MetricType::Counter, "breakerd_breaker_transitions_total",
      "Changes of the circuit's state since the daemon started, by cause.",
      [&](const BreakerStats& s, BreakerFamilies::Add add) {
        for (const auto& [kind, count] : transitions.Of(s.key)) {
          add({{"to", Name(kind.to)}, {"cause", Name(kind.cause)}}, static_cast<double>(count));
        }
      });
}

void WriteDaemon(const Survey& survey, const Metrics::Sources& sources, FamilyWriter* writer) {
  MetricFamily build{"breakerd_build_info", "1, for the version that runs.", MetricType::Gauge, {}};
  build.metric.emplace_back().label = {{"version", BREAKER_VERSION}};
  build.metric.back().gauge.value = 1;
  MetricFamily breakers{"breakerd_breakers", "Breakers by state.", MetricType::Gauge, {}};
  for (const State state : kStates) {
    breakers.metric.emplace_back().label = {{"state", Name(state)}};
    breakers.metric.back().gauge.value = static_cast<double>(survey.count(state));
  }
  writer->Write({build, breakers});
  writer->WriteGauge("breakerd_breakers_exported", "Breakers with metrics of their own here.",
                     static_cast<double>(survey.breakers.size()));
  writer->WriteGauge("breakerd_permits_out", "Permits out, not yet reported.",
                     static_cast<double>(sources.registry->permits_out()));
  writer->WriteGauge("breakerd_watch_streams", "Watch streams that are open.",
                     static_cast<double>(sources.hub->subscribers()));

  const StoreWriterStats store = sources.writer->stats();
  writer->WriteCounter("breakerd_store_errors_total", "Calls of the store that failed.",
                       static_cast<double>(store.failures));
  writer->WriteGauge("breakerd_store_degraded",
                     "1 while the store fails and the daemon goes on from memory.",
                     store.degraded ? 1 : 0);
  writer->WriteGauge("breakerd_store_unsaved_records", "Records that wait to be stored.",
                     static_cast<double>(store.unsaved));
  if (store.load_time.has_value()) {
    writer->WriteGauge("breakerd_load_duration_seconds", "What loading the store took.",
                       absl::ToDoubleSeconds(*store.load_time));
  }

  const ProcessUsage process = ReadProcessUsage();
  writer->WriteGauge("process_start_time_seconds", "When the daemon started, in Unix time.",
                     process.start_time_seconds);
  writer->WriteCounter("process_cpu_seconds_total", "Time that the daemon ran on a processor.",
                       process.cpu_seconds);
  writer->WriteGauge("process_resident_memory_bytes", "Memory that the daemon has.",
                     process.resident_bytes);
}

}  // namespace

std::string Metrics::Text() const {
  Changes changes;
  SurveyOptions options;
  options.max_breakers = max_breakers_;
  const Survey survey = TakeSurvey(sources_.registry, options, sources_.clock->Now(), &changes);
  if (!changes.empty()) sources_.publisher->Publish(std::move(changes), [] {});

  std::ostringstream text;
  FamilyWriter writer(&text);
  WriteDaemon(survey, sources_, &writer);
  writer.Write(sources_.measured->Collect());
  WriteBreakers(survey, *sources_.transitions, &writer);
  return std::move(text).str();
}

}  // namespace breaker::server
