#include "client/ctl/completion.h"

#include <set>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace breaker::ctl {
namespace {

std::vector<const CLI::App*> Commands(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App*) { return true; });
}

// The options of `app` and its commands that take a file.
void AddFileOptions(const CLI::App& app, std::set<std::string>& options) {
  for (const CLI::Option* option : app.get_options()) {
    if (!absl::StrContains(option->get_type_name(), "FILE")) continue;
    for (const std::string& name : option->get_lnames()) options.insert("--" + name);
  }
  for (const CLI::App* command : Commands(app)) AddFileOptions(*command, options);
}

// What may stand after `app`'s name.
std::string WordsOf(const CLI::App& app) {
  std::vector<std::string> words;
  for (const CLI::App* command : Commands(app)) words.push_back(command->get_name());
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) words.push_back("--" + name);
    if (option->get_positional() && option->get_name() == "S/O") {
      words.emplace_back("$(_breakerctl_breakers)");
    }
  }
  return absl::StrJoin(words, " ");
}

// A case of the script for each command; `path` is how the script knows it.
void AddCases(const CLI::App& app, const std::string& path, std::vector<std::string>& paths,
              std::string& cases) {
  absl::StrAppend(&cases, "    \"", path, "\") words=\"", WordsOf(app), "\" ;;\n");
  for (const CLI::App* command : Commands(app)) {
    paths.push_back(absl::StrCat(path, " ", command->get_name()));
    AddCases(*command, paths.back(), paths, cases);
  }
}

}  // namespace

std::string CompletionScript(const CLI::App& app, Shell shell) {
  std::vector<std::string> paths;
  std::string cases;
  AddCases(app, "", paths, cases);
  std::set<std::string> file_options;
  AddFileOptions(app, file_options);
  return absl::StrCat(shell == Shell::kZsh ? "autoload -U +X bashcompinit && bashcompinit\n" : "",
                      "_breakerctl_breakers() {\n"
                      "  breakerctl list 2>/dev/null | awk 'NR > 1 { print $1 }'\n"
                      "}\n"
                      "_breakerctl() {\n"
                      "  local i path= words=\n"
                      "  case \"${COMP_WORDS[COMP_CWORD - 1]}\" in\n"
                      "    ",
                      absl::StrJoin(file_options, " | "),
                      ")\n"
                      "      COMPREPLY=($(compgen -f -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
                      "      return ;;\n"
                      "  esac\n"
                      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
                      "    case \"$path ${COMP_WORDS[i]}\" in\n"
                      "    \"",
                      absl::StrJoin(paths, "\" | \""),
                      "\") path=\"$path ${COMP_WORDS[i]}\" ;;\n"
                      "    esac\n"
                      "  done\n"
                      "  case \"$path\" in\n",
                      cases,
                      "  esac\n"
                      "  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
                      "}\n"
                      "complete -F _breakerctl breakerctl\n");
}

}  // namespace breaker::ctl
