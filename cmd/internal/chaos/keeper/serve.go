package keeper

import (
	"context"
	"io"
)

// Serve is the keeper: it reads from in what it is to do, and says on out what it does.
// It returns when it was told that the tool is done, when in ends, and when ctx does;
// everything is undone then.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	return nil
}
