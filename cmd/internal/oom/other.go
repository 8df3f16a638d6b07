//go:build !linux

package oom

import (
	"errors"
	"time"
)

var errUnsupported = errors.New("needs Linux")

func openKmsg(string, bool) (source, time.Duration, error) { return nil, 0, errUnsupported }

// Bells need Linux.
type Bells struct{ c chan Ring }

// NewBells fails: notifications of memory need Linux.
func NewBells() (*Bells, error) { return nil, errUnsupported }

// C gives what rang: nothing.
func (b *Bells) C() <-chan Ring { return b.c }

// Hang hangs nothing.
func (b *Bells) Hang(string, []Level, int) []string { return nil }

// HangHost hangs nothing.
func (b *Bells) HangHost() error { return errUnsupported }

// Take does nothing.
func (b *Bells) Take(string) {}

// Close does nothing.
func (b *Bells) Close() error { return nil }
