package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/recorder"
)

// A command is one verb of the command line. Cobra parses and completes; what a
// command does is a function of its Env and arguments.
type command struct {
	use     string // "ps [NAME...]"
	short   string
	long    string
	example string
	args    cobra.PositionalArgs // nil: any
	flags   func(*pflag.FlagSet)
	run     func(ctx context.Context, env Env, args arguments) error
	// complete proposes arguments; nil for none.
	complete func(ctx context.Context, env Env, args []string) []string
	// completeFlags proposes the values of flags.
	completeFlags map[string][]string
	hidden        bool
	sub           []command
}

// arguments are what follows the flags: those before "--", and those after it,
// which are a command to run.
type arguments struct {
	targets []string
	command []string
	dash    bool // there was a "--"
}

func (c command) cobra(env Env) *cobra.Command {
	cc := &cobra.Command{
		Use: c.use, Short: c.short, Long: strings.TrimSpace(c.long), Example: strings.Trim(c.example, "\n"),
		Hidden: c.hidden, Args: c.args,
		RunE: func(cc *cobra.Command, args []string) error {
			a := arguments{targets: args}
			if n := cc.ArgsLenAtDash(); n >= 0 {
				a = arguments{targets: args[:n], command: args[n:], dash: true}
			}
			return c.run(cc.Context(), env, a)
		},
		ValidArgsFunction: func(cc *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if c.complete == nil {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return c.complete(cc.Context(), env, args), cobra.ShellCompDirectiveDefault
		},
	}
	if c.flags != nil {
		c.flags(cc.Flags())
	}
	cc.Flags().SortFlags = false
	for flag, values := range c.completeFlags {
		// It fails only for a flag that does not exist, which the tests would see.
		if err := cc.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err)
		}
	}
	for _, s := range c.sub {
		cc.AddCommand(s.cobra(env))
	}
	return cc
}

const rootLong = `
Heapwright looks into any running Go process from outside and says what its
memory and garbage collector are doing, and why; what other settings would do,
and which are best. The process needs no agent, no restart, no debug port and no
symbols. It is stopped only where you ask for that, by leaks --pause, and written
to only by tune --apply live and profile --enable; stress does what its plan says.
What asks the program itself for something says so: diagnose --trace, leaks --url.

Where a command takes a process, it takes a PID, the name of a process, or the
URL of a Go program's /metrics or /debug/pprof.

Exit codes: 0 fine, 1 a finding at or above --fail-on or a failed gate, 2 could
not run, 3 inconclusive. Results go to stdout, everything else to stderr.
`

// Tree returns the command tree.
func Tree(env Env) *cobra.Command {
	cobra.EnableCommandSorting = false
	root := &cobra.Command{
		Use:           "heapwright",
		Short:         "what the memory and garbage collector of any Go process are doing, and why",
		Long:          strings.TrimSpace(rootLong),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetHelpFunc(func(c *cobra.Command, _ []string) { writeHelp(env.Stdout, c, env.textColumns(env.Stdout)) })
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usagef(strings.TrimPrefix(strings.TrimPrefix(c.CommandPath(), "heapwright"), " "), "%s", err)
	})
	for _, c := range []command{
		psCommand(), topCommand(), serveCommand(), recordCommand(), diagnoseCommand(), leaksCommand(), profileCommand(), oomCommand(), escapesCommand(), forecastCommand(), predictCommand(), tuneCommand(), undoCommand(), compareCommand(), stressCommand(),
		explainCommand(), demoCommand(), versionCommand(), watchdogCommand(), loadCommand(), stressKeeperCommand(), stressEaterCommand(),
	} {
		root.AddCommand(c.cobra(env))
	}
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Hidden = true
		case "completion":
			c.Short = "completion for bash, zsh, fish and powershell"
		}
	}
	return root
}

// Main runs heapwright and returns its exit code.
func Main(env Env, args []string) ExitCode {
	ctx, cancel := env.Signals.context(context.Background())
	defer cancel()
	return run(ctx, env, args)
}

func run(ctx context.Context, env Env, args []string) ExitCode {
	root := Tree(env)
	root.SetArgs(args)
	return finish(env, root.ExecuteContext(ctx))
}

// finish prints an error, if that is what it is, and says how to end.
func finish(env Env, err error) ExitCode {
	if err == nil {
		return ExitOK
	}
	code := ExitCouldNotRun
	var exit *exitError
	if errors.As(err, &exit) {
		code = exit.code
		if exit.err == nil {
			return code
		}
	}
	if hintOf(err) == "" && strings.HasPrefix(err.Error(), "unknown command") {
		err = hinted(errors.New(strings.SplitN(err.Error(), "\n", 2)[0]), "heapwright --help lists the commands")
	}
	printError(env.Stderr, err)
	return code
}

// exactly wants n targets and no command.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			name := strings.TrimPrefix(c.CommandPath(), "heapwright ")
			return usagef(name, "%s takes %s", name, what)
		}
		return nil
	}
}

// jsonFlag adds --json.
func jsonFlag(f *pflag.FlagSet, v *bool) {
	f.BoolVar(v, "json", false, "print one JSON document (docs/cli-json.md)")
}

// hzFlag adds --hz.
func hzFlag(f *pflag.FlagSet, v *float64) {
	f.Float64Var(v, "hz", 0, fmt.Sprintf("samples a second, at most %d (default %d, of a URL %d)", recorder.MaxHz, recorder.DefaultHz, endpointHz))
}

// rate is how often to take samples of a target.
func rate(asked float64, t Target) float64 {
	if asked > 0 {
		return asked
	}
	return t.Hz()
}

// oneOf checks a flag that takes one of a few words.
func oneOf(command, flag, value string, words []string) error {
	for _, w := range words {
		if value == w {
			return nil
		}
	}
	return usagef(command, "--%s is one of %s, not %q", flag, strings.Join(words, ", "), value)
}

// positive checks a number or duration that must be more than nothing.
func positive[T ~int | ~int64 | ~float64](command, flag string, v T) error {
	if v > 0 {
		return nil
	}
	return usagef(command, "--%s must be more than 0, not %s", flag, fmt.Sprint(v))
}
