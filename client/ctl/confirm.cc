#include "client/ctl/confirm.h"

#include <unistd.h>

#include <iostream>

namespace breaker::ctl {

bool IsWildcard(const Key& key) { return key.service == "*" || key.operation == "*"; }

bool Confirm(const std::string& question, bool yes) {
  if (yes) return true;
  if (isatty(STDIN_FILENO) == 0) {
    std::cerr << "breakerctl: " << question << " There is no terminal to ask on: give --yes.\n";
    return false;
  }
  std::cout << question << " [y/N] " << std::flush;
  std::string answer;
  std::getline(std::cin, answer);
  if (answer == "y" || answer == "Y" || answer == "yes") return true;
  std::cerr << "breakerctl: nothing was done\n";
  return false;
}

}  // namespace breaker::ctl
