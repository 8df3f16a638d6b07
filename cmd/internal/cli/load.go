package cli

import (
	"context"

	"github.com/heapwright/heapwright/cmd/internal/experiment/load"
)

// loadCommand is the generator of load that an experiment starts. People have no use
// for it.
func loadCommand() command {
	return command{
		use: load.Verb, short: "sends requests to a subject; started by heapwright itself", hidden: true,
		args: exactly(0, "no arguments"),
		run: func(ctx context.Context, env Env, _ arguments) error {
			return load.Serve(ctx, env.Stdin, env.Stdout)
		},
	}
}
