package top

import (
	"context"
	"errors"
	"fmt"
	"io"

	tea "charm.land/bubbletea/v2"
)

// Terminal is where the picture goes, and the keys come from.
type Terminal struct {
	In  io.Reader
	Out io.Writer
	Env []string // NAME=value, of the terminal: TERM, NO_COLOR
}

// Run shows what a watcher sees until the user quits or ctx is done. Then the terminal
// is as it was.
func Run(ctx context.Context, t Terminal, m Model, w *Watcher) error {
	m.Focus = w.Focus
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(t.In), tea.WithOutput(t.Out), tea.WithEnvironment(t.Env), tea.WithoutSignalHandler(), tea.WithFPS(20))
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Watch(ctx, func(r Round) { p.Send(r) })
	}()
	_, err := p.Run()
	cancelled := ctx.Err() != nil
	cancel()
	<-done
	if err != nil && !(cancelled && errors.Is(err, tea.ErrProgramKilled)) {
		return fmt.Errorf("drawing on the terminal: %w", err)
	}
	return nil
}
