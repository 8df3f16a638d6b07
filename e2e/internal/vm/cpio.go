package vm

import (
	"fmt"
	"io"
)

// Kinds and permissions of what is in an archive.
const (
	cpioDirectory = 0o040755
	cpioProgram   = 0o100755
	cpioFile      = 0o100644
	cpioCharacter = 0o020600
)

// A cpio writes an archive of the kind "newc", which the kernel unpacks as its first
// file system (Documentation/driver-api/early-userspace/buffer-format.rst).
type cpio struct {
	w   io.Writer
	n   int // of what was written, for the padding
	ino int
	err error
}

// add adds a file, a directory, or with a mode that says so a device.
func (c *cpio) add(name string, mode int, major, minor int, content []byte) {
	c.ino++
	c.write(fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		c.ino, mode, 0, 0, 1, 0, len(content), 0, 0, major, minor, len(name)+1, 0))
	c.write(append([]byte(name), 0))
	c.pad()
	c.write(content)
	c.pad()
}

func (c *cpio) end() error {
	c.add("TRAILER!!!", 0, 0, 0, nil)
	return c.err
}

// pad brings what was written to a multiple of four.
func (c *cpio) pad() { c.write(make([]byte, -c.n&3)) }

func (c *cpio) write(b []byte) {
	if c.err != nil {
		return
	}
	n, err := c.w.Write(b)
	c.n, c.err = c.n+n, err
}
