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

// The address that an event of the log names.
std::string AddressIn(const std::string& log, const std::string& event) {
  const size_t field = log.find(" address=127.0.0.1:", log.find(event));
  if (field == std::string::npos) Die("names no address", log);
  const size_t begin = field + sizeof(" address=") - 1;
  return log.substr(begin, log.find_first_of(" \n", begin) - begin);
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
  Start("127.0.0.1:0", "127.0.0.1:0");
}

DaemonProcess::~DaemonProcess() {
  process_.reset();
  if (owns_data_dir_) std::filesystem::remove_all(data_dir_);
}

void DaemonProcess::Start(const std::string& listen, const std::string& http_listen) {
  std::vector<std::string> argv = {BREAKERD_PATH, "--listen=" + listen,
                                   "--http_listen=" + http_listen};
  argv.insert(argv.end(), flags_.begin(), flags_.end());
  process_ = std::make_unique<Subprocess>(argv);
  if (!process_->WaitForErr(" listening ")) Die("does not listen", log());
  target_ = AddressIn(log(), " listening ");
  http_ = AddressIn(log(), " http_listening ");
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
  Start(target_, http_);
}

}  // namespace breaker::testing
