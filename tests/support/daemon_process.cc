#include "tests/support/daemon_process.h"

#include <signal.h>
#include <stdlib.h>

#include <cstdio>
#include <filesystem>

#include "absl/strings/match.h"

namespace breaker::testing {
namespace {

constexpr char kDataDirFlag[] = "--data_dir=";

[[noreturn]] void Die(const std::string& what, const std::string& log) {
  fprintf(stderr, "%s: %s\n%s\n", BREAKERD_PATH, what.c_str(), log.c_str());
  abort();
}

std::string NewDirectory() {
  std::string path = std::filesystem::temp_directory_path() / "breakerd-XXXXXX";
  if (mkdtemp(path.data()) == nullptr) Die("no temporary directory", "");
  return path;
}

}  // namespace

DaemonProcess::DaemonProcess(std::vector<std::string> flags) : flags_(std::move(flags)) {
  for (const std::string& flag : flags_) {
    if (absl::StartsWith(flag, kDataDirFlag)) data_dir_ = flag.substr(sizeof(kDataDirFlag) - 1);
  }
  if (data_dir_.empty()) {
    owns_data_dir_ = true;
    data_dir_ = NewDirectory();
    flags_.push_back(kDataDirFlag + data_dir_);
  }
  Start();
}

DaemonProcess::~DaemonProcess() {
  process_.reset();
  if (owns_data_dir_) std::filesystem::remove_all(data_dir_);
}

void DaemonProcess::Start() {
  std::vector<std::string> argv = {BREAKERD_PATH, "--listen=" + target(),
                                   "--http_listen=" + http()};
  argv.insert(argv.end(), flags_.begin(), flags_.end());
  process_ = std::make_unique<Subprocess>(argv);
  if (!process_->WaitForErr(" listening ")) Die("does not listen", log());
}

void DaemonProcess::Kill() {
  process_->Signal(SIGKILL);
  process_->Wait();
}

int DaemonProcess::Terminate() {
  process_->Signal(SIGTERM);
  return process_->Wait();
}

void DaemonProcess::Stop() { process_->Signal(SIGSTOP); }

void DaemonProcess::Continue() { process_->Signal(SIGCONT); }

void DaemonProcess::Restart() {
  process_.reset();
  Start();
}

}  // namespace breaker::testing
