package cli

import (
	"context"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestSignals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		exited := ExitCode(-1)
		s := &Signals{ch: make(chan os.Signal), exit: func(c ExitCode) { exited = c }}
		ctx, cancel := s.context(t.Context())
		defer cancel()

		s.ch <- os.Interrupt
		s.ch <- os.Interrupt // the echo
		synctest.Wait()
		if ctx.Err() != context.Canceled || exited != -1 {
			t.Errorf("after the first: context %v, exit code %d", ctx.Err(), exited)
		}
		time.Sleep(time.Second)
		s.ch <- os.Interrupt
		synctest.Wait()
		if exited != ExitCouldNotRun {
			t.Errorf("after the second: exit code %d", exited)
		}
	})
}

func TestSignalsOfACommand(t *testing.T) {
	s := &Signals{ch: make(chan os.Signal), exit: func(ExitCode) { t.Error("exited") }}
	ctx, cancel := s.context(t.Context())
	defer cancel()
	passed := make(chan os.Signal)
	release := s.takeOver(func(sig os.Signal) { passed <- sig })
	for range 3 {
		s.ch <- syscall.SIGTERM
		if got := <-passed; got != syscall.SIGTERM {
			t.Errorf("passed on %v", got)
		}
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if got := <-passed; got != syscall.SIGUSR1 {
		t.Errorf("passed on %v", got)
	}
	release()
	if ctx.Err() != nil {
		t.Error("the command's signals ended its recording")
	}
	s.ch <- syscall.SIGTERM
	<-ctx.Done()
}
