#include "server/store/checkpoint.h"

#include <filesystem>
#include <system_error>

#include "server/log.h"

namespace breaker::server {

Checkpoint::~Checkpoint() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
  if (error) {
    Log(LogLevel::kWarning, "checkpoint_not_removed",
        {{"path", path_}, {"reason", error.message()}});
  }
}

}  // namespace breaker::server
