package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/recall"
	"github.com/heapwright/heapwright/cmd/internal/store"
	"github.com/heapwright/heapwright/record"
)

// stored are the options of a command that can think about what an agent stored.
type stored struct {
	url      string // of the agent, or of a Prometheus-compatible server
	until    string
	instance string
}

// storedWindow is how far back is looked where nobody says.
const storedWindow = 30 * time.Minute

func storedFlags(f *pflag.FlagSet, s *stored) {
	f.StringVar(&s.url, "store", "", "not the process, but what is stored of it at this `URL`: of an agent, or a Prometheus-compatible server")
	f.StringVar(&s.until, "until", "", "with --store: the end of the time that is meant, 2026-01-02T15:04:05Z (default now); --for says how long it is (default "+span(storedWindow)+")")
	f.StringVar(&s.instance, "instance", "", "with --store: the machine, where several have a process of that name")
}

func (s stored) check(command string) error {
	if s.url == "" && (s.until != "" || s.instance != "") {
		return usagef(command, "--until and --instance go with --store")
	}
	if _, err := s.end(time.Now()); err != nil {
		return usagef(command, "%s", err)
	}
	return nil
}

func (s stored) end(now time.Time) (time.Time, error) {
	if s.until == "" {
		return now, nil
	}
	t, err := time.Parse(time.RFC3339, s.until)
	if err != nil {
		return t, fmt.Errorf("--until %.40q is no time: write 2026-01-02T15:04:05Z", s.until)
	}
	return t, nil
}

// recall returns the recording that what is stored of a process makes.
func (s stored) recall(ctx context.Context, env Env, opt observeOptions, process string) (*record.Recording, error) {
	to, err := s.end(env.Now())
	if err != nil {
		return nil, err
	}
	r, err := store.Dial(s.url, store.DialOptions{Token: env.Getenv("HEAPWRIGHT_TOKEN")})
	if err != nil {
		return nil, err
	}
	rec, err := recall.Recording(ctx, r, recall.Query{Process: process, Instance: s.instance, From: to.Add(-cmp.Or(opt.over, storedWindow)), To: to})
	if err != nil || opt.keep == "" {
		return rec, err
	}
	return rec, keepRecording(rec, opt.keep)
}

// keepRecording writes a recording that is in memory into a file.
func keepRecording(rec *record.Recording, file string) error {
	f, err := os.Create(file)
	if err != nil {
		return fmt.Errorf("creating the recording: %w", err)
	}
	w := record.NewWriter(f)
	err = w.Process(rec.Process)
	next := 0
	for i := range rec.Samples {
		for ; next < len(rec.Cycles) && rec.Cycles[next].End.Before(rec.Samples[i].Time); next++ {
			err = errors.Join(err, w.Cycle(&rec.Cycles[next]))
		}
		err = errors.Join(err, w.Sample(&rec.Samples[i]))
	}
	if err = errors.Join(err, w.Close(), f.Close()); err != nil {
		return fmt.Errorf("writing the recording: %w", err)
	}
	return nil
}
