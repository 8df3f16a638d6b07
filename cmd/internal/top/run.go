package top

import (
	"context"
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
	// The program's own context ends after it: one that ends before makes bubbletea close
	// the keyboard under the goroutine that reads it. A done ctx is a request to quit.
	running, ended := context.WithCancel(context.WithoutCancel(ctx))
	defer ended()
	p := tea.NewProgram(m, tea.WithContext(running), tea.WithInput(t.In), tea.WithOutput(t.Out), tea.WithEnvironment(t.Env), tea.WithoutSignalHandler(), tea.WithFPS(20))
	defer context.AfterFunc(ctx, p.Quit)()
	watching, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Watch(watching, func(r Round) { p.Send(r) })
	}()
	_, err := p.Run()
	ended()
	cancel()
	<-done
	if err != nil {
		return fmt.Errorf("drawing on the terminal: %w", err)
	}
	return nil
}
