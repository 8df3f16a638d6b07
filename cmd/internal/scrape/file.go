package scrape

import (
	"context"
	"io"
)

// WriteProfile reads a profile from /debug/pprof by its name there (heap,
// allocs, goroutine, block, mutex) and writes it as a gzip-compressed pprof file.
// What arrives is parsed first: the file is a profile, or there is none.
func (c *Client) WriteProfile(ctx context.Context, name string, w io.Writer) error {
	b, p, err := c.profile(ctx, name)
	if err != nil {
		return err
	}
	if err := p.Write(w); err != nil {
		return b.fail("writing the profile", "", err)
	}
	return nil
}
