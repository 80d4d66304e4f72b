// backup: the daemon's state as a folder of files.
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <iostream>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "client/ctl/child.h"
#include "client/ctl/commands.h"
#include "client/ctl/remote.h"
#include "google/protobuf/util/time_util.h"
#include "grpcpp/grpcpp.h"
#include "server/backup_folder.h"

namespace breaker::ctl {
namespace {

// How long the daemon may be silent once it has answered: until the first piece it writes its
// counters and reads all breakers once, and later on it may wait for a slow disk.
constexpr absl::Duration kPatience = absl::Seconds(60);

// How soon a signal is noticed while the daemon is silent.
constexpr absl::Duration kNotice = absl::Milliseconds(50);

volatile std::sig_atomic_t told_to_stop = 0;  // by this signal

// From here on what tells a program to end is noted there, so that what is half done can be
// removed.
void NoteSignals() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction action = {};
    sigaction(signal, nullptr, &action);
    if (action.sa_handler == SIG_IGN) continue;  // as nohup has it
    action = {};
    action.sa_handler = [](int number) { told_to_stop = number; };
    sigaction(signal, &action, nullptr);
  }
}

// The stream of one Backup. Each step ends within the time it is given.
class BackupStream {
 public:
  explicit BackupStream(const Daemon& daemon) : timeout_(daemon.timeout) {
    stub_ = ConnectAdmin(daemon);
    reader_ = stub_->PrepareAsyncBackup(&context_, v1::BackupRequest(), &queue_);
    reader_->StartCall(this);
    Await(timeout_);
    reader_->ReadInitialMetadata(this);
    Await(timeout_);
  }

  // False at the end, however it came.
  bool Read(v1::BackupChunk* chunk) {
    reader_->Read(chunk, this);
    return Await(std::max(timeout_, kPatience));
  }

  // To be called once, as the last. Why the daemon has ended the stream, or we have.
  grpc::Status End() {
    grpc::Status status;
    reader_->Finish(&status, this);
    Await(std::max(timeout_, kPatience));
    return late_ ? grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "it does not answer in time")
                 : status;
  }

  // No more is wanted.
  void Cancel() { context_.TryCancel(); }

 private:
  // Until what was begun last is done, and whether it went well. What takes longer than `patience`
  // is cancelled, and so is all once a signal has come.
  bool Await(absl::Duration patience) {
    const absl::Time deadline = absl::Now() + patience;
    void* tag = nullptr;
    bool ok = false;
    while (queue_.AsyncNext(&tag, &ok, absl::ToChronoTime(absl::Now() + kNotice)) ==
           grpc::CompletionQueue::TIMEOUT) {
      if (absl::Now() >= deadline) {
        late_ = true;
      } else if (told_to_stop == 0) {
        continue;
      }
      context_.TryCancel();
      queue_.Next(&tag, &ok);
      return false;
    }
    return ok && told_to_stop == 0;
  }

  const absl::Duration timeout_;
  bool late_ = false;
  std::unique_ptr<v1::BreakerAdmin::Stub> stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::ClientAsyncReader<v1::BackupChunk>> reader_;
};

int Say(const absl::Status& status) {
  std::cerr << "breakerctl: " << status.message() << "\n";
  return kError;
}

int TakeBackup(const Daemon& daemon, const std::string& folder, bool json) {
  const absl::StatusOr<std::unique_ptr<server::BackupFolderWriter>> writer =
      server::BackupFolderWriter::Begin(folder);
  if (!writer.ok()) return Say(writer.status());

  BackupStream stream(daemon);
  absl::Status taken;
  v1::BackupChunk chunk;
  while (taken.ok() && stream.Read(&chunk)) taken = (*writer)->Take(chunk);
  if (!taken.ok() || told_to_stop != 0) stream.Cancel();
  const grpc::Status status = stream.End();
  if (told_to_stop != 0) {
    std::cerr << "breakerctl: told to stop; there is no " << folder << "\n";
    return kError;
  }
  if (!taken.ok()) return Say(taken);
  if (!status.ok()) return Fail(daemon, status);

  const absl::StatusOr<v1::BackupSummary> summary = (*writer)->End();
  if (!summary.ok()) return Say(summary.status());
  if (json) {
    std::cout << ToJson(*summary);
    return kOk;
  }
  std::cout << folder << ": " << summary->files() << " files, " << summary->bytes() << " bytes, "
            << summary->breakers() << " breakers, made "
            << google::protobuf::util::TimeUtil::ToString(summary->created_at()) << " by breakerd "
            << summary->daemon_version() << "\n";
  return kOk;
}

}  // namespace

int Backup(const Daemon& daemon, const std::string& folder, bool json) {
  NoteSignals();
  const int status = TakeBackup(daemon, folder, json);
  if (told_to_stop != 0 && status != kOk) DieBy(told_to_stop);  // nothing is left by now
  return status;
}

}  // namespace breaker::ctl
