// breakerctl's operator commands with a real daemon.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/daemon_process.h"
#include "tests/support/subprocess.h"
#include "tests/support/temp_dir.h"
#include "tests/support/terminal_process.h"

namespace breaker {
namespace {

using ::testing::AllOf;
using testing::DaemonProcess;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::Subprocess;
using testing::TerminalProcess;

using Args = std::vector<std::string>;

class OperateTest : public ::testing::Test {
 protected:
  Args Argv(const Args& args) const {
    Args argv = {BREAKERCTL_PATH, "--timeout=20s", "--target=" + daemon_.target()};
    argv.insert(argv.end(), args.begin(), args.end());
    return argv;
  }
  std::unique_ptr<Subprocess> Start(const Args& args) const {
    return std::make_unique<Subprocess>(Argv(args));
  }
  std::unique_ptr<Subprocess> Run(const Args& args) const {
    auto process = Start(args);
    process->Wait();
    return process;
  }
  std::string Out(const Args& args) const {
    const auto process = Run(args);
    EXPECT_EQ(process->Wait(), 0) << process->err();
    return process->out();
  }
  // A guarded call, so that there is a breaker.
  int Call(const std::string& key) const { return Run({"exec", key, "--", "true"})->Wait(); }

  DaemonProcess daemon_;
};

TEST_F(OperateTest, OpenRefusesUntilAuto) {
  EXPECT_EQ(Out({"open", "s/o", "--reason=migration", "--actor=ana"}),
            "s/o is OPEN, FORCED_OPEN by ana: migration\n");
  EXPECT_EQ(Call("s/o"), 75);
  EXPECT_THAT(Out({"stats", "s/o"}), HasSubstr("OVERRIDE_SET: forced open by ana: migration"));

  EXPECT_EQ(Out({"auto", "s/o"}), "s/o is CLOSED\n");
  EXPECT_EQ(Call("s/o"), 0);
  EXPECT_EQ(Run({"auto", "s/o"})->Wait(), 1);
}

TEST_F(OperateTest, CloseHoldsForItsTime) {
  EXPECT_THAT(Out({"close", "s/o", "--ttl=10m", "--actor=ana"}),
              HasSubstr("s/o is CLOSED, FORCED_CLOSED by ana (ends in 9m59s)\n"));
  EXPECT_EQ(Run({"close", "s/o", "--ttl=soon"})->Wait(), 2);
}

TEST_F(OperateTest, WhoDidItIsFilledIn) {
  EXPECT_THAT(Out({"open", "s/o"}), HasSubstr(" by "));
  EXPECT_THAT(Out({"open", "s/o"}), HasSubstr("@"));
}

TEST_F(OperateTest, ResetClosesAndDeleteForgets) {
  EXPECT_EQ(
      Run({"exec", "s/o", "--policy=failure_threshold=1,minimum_request_count=1", "--", "false"})
          ->Wait(),
      1);
  EXPECT_EQ(Out({"reset", "s/o"}), "s/o is CLOSED\n");
  EXPECT_EQ(Out({"delete", "s/o"}), "s/o is deleted\n");
  EXPECT_EQ(Run({"stats", "s/o"})->Wait(), 1);
  EXPECT_EQ(Run({"delete", "s/o"})->err(), "breakerctl: no breaker s/o\n");
}

TEST_F(OperateTest, AWildcardMeansAllThatThereAreAndAsksFirst) {
  for (const char* key : {"s/a", "s/b", "t/a"}) ASSERT_EQ(Call(key), 0);

  const auto unasked = Run({"open", "s/*"});
  EXPECT_EQ(unasked->Wait(), 2);
  EXPECT_THAT(unasked->err(),
              HasSubstr("Force open all of these, 2 in number? There is no terminal"));
  EXPECT_EQ(Call("s/a"), 0);

  EXPECT_THAT(Out({"open", "s/*", "--yes"}),
              AllOf(HasSubstr("s/a is OPEN"), HasSubstr("s/b is OPEN"), Not(HasSubstr("t/a"))));
  EXPECT_EQ(Call("s/b"), 75);
  EXPECT_EQ(Call("t/a"), 0);
  EXPECT_THAT(Out({"auto", "*/*", "--yes"}), Not(HasSubstr("t/a"))) << "it has no override";
  EXPECT_EQ(Run({"open", "none/*", "--yes"})->Wait(), 1);
}

TEST_F(OperateTest, OnATerminalItDoesWhatIsAnsweredWithYes) {
  ASSERT_EQ(Call("s/a"), 0);
  {
    TerminalProcess no(Argv({"open", "s/*"}));
    no.Type("n\n");
    EXPECT_EQ(no.Wait(), 2);
    EXPECT_EQ(Call("s/a"), 0);
  }
  TerminalProcess yes(Argv({"open", "s/*"}));
  yes.Type("y\n");
  EXPECT_EQ(yes.Wait(), 0);
  EXPECT_EQ(Call("s/a"), 75);
}

TEST_F(OperateTest, PolicyIsSetShownAndDeleted) {
  EXPECT_EQ(Out({"policy", "set", "s/o", "failure_threshold=3", "recovery_timeout=20s"}),
            "s/o: failure_threshold=3 recovery_timeout=20s\n");
  EXPECT_THAT(Out({"policy", "list"}),
              AllOf(HasSubstr("BREAKERS  FROM  SET"),
                    HasSubstr("failure_threshold=3 recovery_timeout=20s\n")));
  EXPECT_THAT(Out({"policy", "get", "s/o"}),
              AllOf(HasSubstr("failure_threshold=3\n"), HasSubstr("monitoring_window=1m\n")));
  EXPECT_THAT(Out({"policy", "get", "s/o", "--json"}), HasSubstr("\"origin\": \"API\""));
  EXPECT_EQ(Out({"policy", "delete", "s/o"}), "");
  EXPECT_EQ(Run({"policy", "get", "s/o"})->Wait(), 1);
  EXPECT_EQ(Run({"policy", "delete", "s/o"})->Wait(), 1);
}

TEST_F(OperateTest, BadPoliciesAreWrongUsage) {
  EXPECT_THAT(Run({"policy", "set", "s/o", "failure_rate_threshold=1.5"})->err(),
              HasSubstr("policy.failure_rate_threshold: 1.5 is not in (0, 1]"));
  EXPECT_EQ(Run({"policy", "set", "s/o", "failure_rate_threshold=1.5"})->Wait(), 2);
  EXPECT_EQ(Run({"policy", "set", "s/o", "nothing=1"})->Wait(), 2);
  EXPECT_EQ(Run({"policy", "set", "s/o"})->Wait(), 2);
  EXPECT_EQ(Run({"policy", "set", "s/*", "shadow=true"})->Wait(), 2) << "it asks first";
  EXPECT_EQ(Run({"policy"})->Wait(), 2);
}

TEST_F(OperateTest, WhatIsExportedCanBeSetAgain) {
  Out({"policy", "set", "s/o", "failure_threshold=3"});
  Out({"policy", "set", "*/*", "failure_counting=WINDOWED", "--yes"});
  const std::string exported = Out({"policy", "export"});
  const TempDir dir;
  const std::string file = dir.path() + "/policies.yaml";
  std::ofstream(file) << exported;

  Out({"policy", "delete", "s/o"});
  Out({"policy", "delete", "*/*", "--yes"});
  EXPECT_EQ(Out({"policy", "export"}), "policies:\n  []\n");
  Out({"policy", "set", "--file", file, "--yes"});

  EXPECT_EQ(Out({"policy", "export"}), exported);
}

TEST_F(OperateTest, WatchSaysEveryChangeOnALine) {
  const auto watch = Start({"watch"});
  const auto one = Start({"watch", "s/o", "--json"});
  ASSERT_TRUE(one->WaitForOut("\"CLOSED\""));
  Out({"open", "s/o", "--actor=ana", "--reason=drill"});
  Out({"open", "t/o", "--actor=ana"});
  ASSERT_TRUE(one->WaitForOut("\"state\":\"OPEN\""));
  ASSERT_TRUE(watch->WaitForOut("s/o CLOSED -> OPEN: forced open by ana: drill"));
  ASSERT_TRUE(watch->WaitForOut("t/o CLOSED -> OPEN"));
  EXPECT_THAT(one->out(), Not(HasSubstr("\"service\":\"t\"")));
  Out({"policy", "set", "t/o", "shadow=true"});
  ASSERT_TRUE(watch->WaitForOut("t/o OPEN, FORCED_OPEN by ana, under another policy"));
  Out({"delete", "s/o"});
  EXPECT_TRUE(watch->WaitForOut("s/o is gone"));
  EXPECT_EQ(daemon_.Terminate(), 0);
  EXPECT_EQ(watch->Wait(), 69);
}

TEST_F(OperateTest, TopShowsTroubleFirstAndEndsWithQ) {
  ASSERT_EQ(Call("a/fine"), 0);
  // A second is how long the daemon may be stopped before that shows.
  TerminalProcess top(
      {BREAKERCTL_PATH, "--timeout=1s", "--target=" + daemon_.target(), "top", "--interval=50ms"});
  EXPECT_THAT(top.WaitFor("a/fine"), HasSubstr("1 breakers: 0 open"));
  Out({"open", "z/bad", "--actor=ana", "--reason=drill"});
  const std::string screen = top.WaitFor("FORCED_OPEN by ana: drill");
  const size_t last_frame = screen.rfind("BREAKER");
  const size_t bad = screen.find("z/bad", last_frame);
  EXPECT_NE(bad, std::string::npos);
  EXPECT_EQ(screen.find("a/fine", last_frame) < bad, false) << "trouble comes first";
  EXPECT_THAT(screen, HasSubstr("\033[1;31mOPEN\033[0m"));
  daemon_.Stop();
  top.WaitFor("UNAVAILABLE, last seen");
  daemon_.Continue();
  top.Type("q");
  EXPECT_EQ(top.Wait(), 0);
}

TEST_F(OperateTest, TopLeavesTheTerminalAsItWasWhenASignalEndsIt) {
  TerminalProcess top(Argv({"top", "--interval=50ms"}));
  top.WaitFor("BREAKER");
  top.Signal(SIGTERM);
  EXPECT_EQ(top.Wait(), 0);
  EXPECT_THAT(top.WaitFor("\033[?1049l"), HasSubstr("\033[?25h\033[?1049l"));
}

TEST_F(OperateTest, TopIsForATerminalAndColoursAreToo) {
  const auto top = Run({"top"});
  EXPECT_EQ(top->Wait(), 2);
  Out({"open", "s/o"});
  EXPECT_THAT(Out({"list"}), Not(HasSubstr("\033")));
  EXPECT_THAT(Out({"stats", "s/o"}), Not(HasSubstr("\033")));
  TerminalProcess list(Argv({"list"}));
  EXPECT_THAT(list.WaitFor("s/o"), HasSubstr("\033[1;31mOPEN\033[0m"));
}

// What a shell offers after these words.
std::string Completed(const std::string& shell, const std::string& prelude,
                      const std::string& words, const std::string& target) {
  const std::string bin = std::string(BREAKERCTL_PATH);
  Subprocess process({shell, "-c",
                      "export BREAKERD_TARGET=" + target +
                          " PATH=" + bin.substr(0, bin.rfind('/')) + ":$PATH; " + prelude +
                          " COMP_WORDS=(" + words +
                          "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); "
                          "_breakerctl; echo \"${COMPREPLY[*]}\""});
  EXPECT_EQ(process.Wait(), 0) << process.err();
  return process.out();
}

TEST_F(OperateTest, BashCompletesCommandsOptionsAndBreakers) {
  ASSERT_EQ(Call("payments/charge"), 0);
  const auto completed = [&](const std::string& words) {
    return Completed("bash", "source <(breakerctl completion bash);", words, daemon_.target());
  };
  EXPECT_EQ(completed("breakerctl po"), "policy\n");
  EXPECT_EQ(completed("breakerctl ba"), "backup\n");
  EXPECT_EQ(completed("breakerctl backup --j"), "--json\n");
  EXPECT_EQ(completed("breakerctl policy e"), "export\n");
  EXPECT_EQ(completed("breakerctl open --t"), "--ttl\n");
  EXPECT_EQ(completed("breakerctl open pay"), "payments/charge\n");
  EXPECT_EQ(completed("breakerctl --target x policy get pay"), "payments/charge\n");
  EXPECT_EQ(completed("breakerctl completion ''"), "bash zsh --help\n");
}

TEST_F(OperateTest, ZshCompletesTheSame) {
  if (Subprocess({"zsh", "-c", "true"}).Wait() != 0) GTEST_SKIP() << "there is no zsh";
  const std::string prelude =
      "autoload -U compinit; compinit -u -D; source <(breakerctl completion zsh); emulate ksh;";
  // zsh itself leaves out what does not begin as the word does.
  EXPECT_EQ(Completed("zsh", prelude, "breakerctl policy e", daemon_.target()),
            "list get set delete export --help\n");
  EXPECT_THAT(Completed("zsh", prelude, "breakerctl open --t", daemon_.target()),
              HasSubstr("--ttl"));
}

TEST_F(OperateTest, WithoutTheDaemonEveryCommandSaysSo) {
  daemon_.Kill();
  for (const Args& args :
       {Args{"open", "s/o"}, Args{"close", "s/o"}, Args{"auto", "s/o"}, Args{"reset", "s/o"},
        Args{"delete", "s/o"}, Args{"open", "s/*"}, Args{"policy", "list"},
        Args{"policy", "get", "s/o"}, Args{"policy", "set", "s/o", "shadow=true"},
        Args{"policy", "delete", "s/o"}, Args{"policy", "export"}, Args{"watch"}}) {
    EXPECT_EQ(Run(args)->Wait(), 69) << args.front();
  }
}

TEST_F(OperateTest, EveryCommandHasHelpWithAnExample) {
  for (const Args& args :
       {Args{"list"}, Args{"stats"}, Args{"watch"}, Args{"open"}, Args{"close"}, Args{"auto"},
        Args{"reset"}, Args{"delete"}, Args{"policy"}, Args{"policy", "list"},
        Args{"policy", "get"}, Args{"policy", "set"}, Args{"policy", "delete"},
        Args{"policy", "export"}, Args{"exec"}, Args{"top"}, Args{"backup"}, Args{"completion"}}) {
    Args help = args;
    help.push_back("--help");
    EXPECT_THAT(Out(help), HasSubstr("\n  breakerctl " + args.front()));
  }
}

}  // namespace
}  // namespace breaker
