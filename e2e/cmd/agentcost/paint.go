package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"

	"github.com/chromedp/chromedp"
)

// A Paint is how long the fleet page takes to show, in a browser that has nothing cached.
type Paint struct {
	Processes int
	// Seconds from the begin of the navigation: to the first paint of content, and until
	// the rows are there.
	First, Rows []float64
	Browser     string
}

const paints = 11

// measurePaint returns nil where there is no browser.
func measurePaint(ctx context.Context, opt runOptions, dir string, f *fleet, out io.Writer) (p *Paint, err error) {
	var browser string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if browser, err = exec.LookPath(name); err == nil {
			break
		}
	}
	if browser == "" {
		fmt.Fprintln(out, "no Chromium: the fleet page is not loaded")
		return nil, nil
	}
	p = &Paint{Processes: 2 * opt.processes, Browser: command(browser, "--version")}
	if err := f.grow(ctx, p.Processes); err != nil {
		return nil, err
	}
	o, err := startAgent(ctx, opt.heapwright, dir, "heapwright-paint")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.stop()) }()
	if err := o.watches(ctx, p.Processes); err != nil {
		return nil, err
	}
	if err := sleep(ctx, 20*time.Second); err != nil { // the snapshots that it begins with
		return nil, err
	}
	for range paints {
		first, rows, err := paintOnce(ctx, browser, o.agent, p.Processes)
		if err != nil {
			return nil, err
		}
		p.First, p.Rows = append(p.First, first), append(p.Rows, rows)
	}
	fmt.Fprintf(out, "first paint %.3f s, rows %.3f s (medians)\n", median(p.First), median(p.Rows))
	return p, nil
}

// paintOnce loads the page in a new browser.
func paintOnce(ctx context.Context, browser, base string, processes int) (first, rows float64, err error) {
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser), chromedp.NoSandbox, chromedp.WindowSize(1280, 900))
	alloc, cancel := chromedp.NewExecAllocator(ctx, opts...)
	defer cancel()
	tab, cancel := chromedp.NewContext(alloc)
	defer cancel()
	tab, cancel = context.WithTimeout(tab, time.Minute)
	defer cancel()
	var ms [2]float64
	err = chromedp.Run(tab,
		chromedp.Navigate("about:blank"), // the browser has started
		chromedp.Navigate(base+"/ui/"),
		// Rows come with the first document of the fleet, as many as there is room for.
		chromedp.Poll(fmt.Sprintf(`document.querySelectorAll("a.name").length >= Math.min(%d, 10) && performance.getEntriesByName("first-contentful-paint").length > 0 && [performance.getEntriesByName("first-contentful-paint")[0].startTime, performance.now()]`, processes), &ms, chromedp.WithPollingInterval(5*time.Millisecond)),
	)
	if err != nil {
		return 0, 0, fmt.Errorf("loading the fleet page: %w", err)
	}
	return ms[0] / 1000, ms[1] / 1000, nil
}
