package evidence

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"time"

	"github.com/heapwright/heapwright/record"
	"github.com/heapwright/heapwright/rtmetrics"
)

// The files of a bundle.
const (
	fileReason     = "reason.json"
	fileSamples    = "samples.hwrec"
	fileTrace      = "trace.out"
	fileGoroutines = "goroutine.pprof"
	fileHeap       = "heap.pprof"
)

// A store takes the files of one bundle. write calls content with a writer that fails with
// ErrTooLarge when the store is full. When it fails, there is no such file.
type store interface {
	write(name string, content func(io.Writer) error) (bytes int64, err error)
}

// reserve is what of a bundle's room only reason.json may use.
const reserve = 32 << 10

// skipped is the error of a file whose contents cannot be had. A bundle can do without.
type skipped struct{ error }

// write writes the files of a bundle. What says most and is smallest comes first.
func (r *Recorder) write(ctx context.Context, to store, b *Bundle, samples []record.Sample) error {
	var now record.Sample
	reader := rtmetrics.NewReader()
	reader.Read(&now)
	cycles, _ := reader.Cycles(nil)
	if len(samples) == 0 {
		samples = []record.Sample{now}
	}
	files := []struct {
		name    string
		content func(io.Writer) error
	}{
		{fileSamples, func(w io.Writer) error { return writeSamples(w, samples, cycles) }},
		{fileTrace, r.tracer.write},
		{fileGoroutines, r.writeGoroutines},
		{fileHeap, func(w io.Writer) error { return pprof.Lookup("heap").WriteTo(w, 0) }},
	}
	for _, f := range files {
		if f.name == fileTrace && !r.tracer.running() {
			continue // the notes say why
		}
		err := ctx.Err()
		if err == nil {
			var n int64
			if n, err = to.write(f.name, f.content); err == nil {
				b.Files = append(b.Files, f.name)
				b.Bytes += n
			}
		}
		var skip skipped
		switch {
		case err == nil:
		case errors.Is(err, ErrTooLarge), errors.As(err, &skip), errors.Is(err, ctx.Err()):
			b.Notes = append(b.Notes, fmt.Sprintf("no %s: %v", f.name, err))
		default:
			return err
		}
	}
	b.Files = append(b.Files, fileReason)
	text, err := json.MarshalIndent(newReport(b, &now, len(samples)), "", "  ")
	if err != nil {
		return fmt.Errorf("writing %s: %w", fileReason, err)
	}
	n, err := to.write(fileReason, func(w io.Writer) error {
		_, err := w.Write(append(text, '\n'))
		return err
	})
	b.Bytes += n
	return err
}

func (r *Recorder) writeGoroutines(w io.Writer) error {
	// The count is one of an instant. If it grows by then, so be it.
	if n := runtime.NumGoroutine(); n > r.o.MaxGoroutines {
		return fmt.Errorf("there are %d goroutines, and to note more than %d would stop the world for long", n, r.o.MaxGoroutines)
	}
	return pprof.Lookup("goroutine").WriteTo(w, 0)
}

// writeSamples writes a recording of this process.
func writeSamples(out io.Writer, samples []record.Sample, cycles []record.Cycle) error {
	w := record.NewWriter(out)
	if err := w.Process(process()); err != nil {
		return err
	}
	first := samples[0].Time
	for i := range cycles { // what came before the samples would be a window without any
		if !cycles[i].End.Before(first) {
			if err := w.Cycle(&cycles[i]); err != nil {
				return err
			}
		}
	}
	for i := range samples {
		// What can't be encoded is left out and harms nothing else. What the file system
		// says, Close says again.
		_ = w.Sample(&samples[i])
	}
	return w.Close()
}

// process is what identifies this process. Arguments and the rest of the environment may be
// secrets.
func process() record.Process {
	p := record.Process{PID: os.Getpid(), GoVersion: runtime.Version(), GOOS: runtime.GOOS, GOARCH: runtime.GOARCH, UID: os.Getuid(), GoEnv: settings()}
	if exe, err := os.Executable(); err == nil {
		p.Exe, p.Name = exe, filepath.Base(exe)
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		p.MainPackage, p.Module, p.ModuleVersion = info.Path, info.Main.Path, info.Main.Version
		p.BuildSettings = map[string]string{}
		for _, s := range info.Settings {
			p.BuildSettings[s.Key] = s.Value
		}
	}
	return p
}

// settings are the Go runtime's, as the process was started with.
func settings() map[string]string {
	env := map[string]string{}
	for _, key := range []string{"GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG", "GOTRACEBACK"} {
		if v, ok := os.LookupEnv(key); ok {
			env[key] = v
		}
	}
	return env
}

// A report is reason.json.
type report struct {
	Time   time.Time `json:"time"`
	Reason string    `json:"reason"`
	Files  []string  `json:"files"`
	Notes  []string  `json:"notes,omitempty"`

	PID       int               `json:"pid"`
	Program   string            `json:"program,omitempty"`
	Module    string            `json:"module,omitempty"`
	Version   string            `json:"module_version,omitempty"`
	GoVersion string            `json:"go_version"`
	GOOS      string            `json:"goos"`
	GOARCH    string            `json:"goarch"`
	GoEnv     map[string]string `json:"go_env,omitempty"` // as the process was started with

	// As they are now.
	GOGCPercent     *int64 `json:"gogc_percent,omitempty"`     // -1 is off
	GOMEMLIMITBytes *int64 `json:"gomemlimit_bytes,omitempty"` // 9223372036854775807 is none
	GOMAXPROCS      int    `json:"gomaxprocs"`
	Goroutines      int    `json:"goroutines"`
	Samples         int    `json:"samples"`
}

func newReport(b *Bundle, now *record.Sample, samples int) *report {
	p := process()
	r := &report{
		Time: b.Time.UTC(), Reason: b.Reason, Files: b.Files, Notes: b.Notes,
		PID: p.PID, Program: p.Name, Module: p.Module, Version: p.ModuleVersion,
		GoVersion: p.GoVersion, GOOS: p.GOOS, GOARCH: p.GOARCH, GoEnv: p.GoEnv,
		GOMAXPROCS: runtime.GOMAXPROCS(0), Goroutines: runtime.NumGoroutine(), Samples: samples,
	}
	if now.Has.Has(record.FieldGOGCPercent) {
		r.GOGCPercent = &now.GOGCPercent
	}
	if now.Has.Has(record.FieldGOMEMLIMITBytes) {
		r.GOMEMLIMITBytes = &now.GOMEMLIMITBytes
	}
	return r
}

func validText(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// memory is the store of a bundle without a directory.
type memory struct {
	left int64
	data map[string][]byte
}

func (m *memory) write(name string, content func(io.Writer) error) (int64, error) {
	var b bytes.Buffer
	left := m.left
	if name != fileReason {
		left -= reserve
	}
	w := writerFunc(func(p []byte) (int, error) {
		if int64(len(p)) > left {
			return 0, ErrTooLarge
		}
		left -= int64(len(p))
		return b.Write(p)
	})
	if err := complete(w, content); err != nil {
		return 0, err
	}
	m.left -= int64(b.Len())
	m.data[name] = b.Bytes()
	return int64(b.Len()), nil
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// complete calls content with w. It returns the error of w where content keeps it to itself,
// and a skipped one when w is not to blame.
func complete(w io.Writer, content func(io.Writer) error) error {
	var failed error
	err := content(writerFunc(func(p []byte) (int, error) {
		if failed != nil {
			return 0, failed
		}
		n, err := w.Write(p)
		failed = err
		return n, err
	}))
	if failed == nil && err != nil {
		return skipped{err}
	}
	return failed
}
