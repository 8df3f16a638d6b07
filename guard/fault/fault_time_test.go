//go:build go1.25

package fault

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestLease has faults that end by themselves, and one that is renewed twice a second
// as a keeper does.
func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInjector(t, Options{MaxLease: 10 * time.Second})
		there := func(id string) bool {
			synctest.Wait()
			for _, f := range i.Status().Active {
				if f.ID == id {
					return true
				}
			}
			return false
		}
		var ids []string
		for _, lease := range []time.Duration{0, leastLease, 10 * time.Second} {
			f, err := i.Start(Request{Kind: Goroutines, Level: 10, Lease: lease, By: "the test"})
			if err != nil {
				t.Fatal(err)
			}
			if lease == 0 {
				lease = DefaultLease
			}
			if got := time.Until(f.Until); got != lease {
				t.Errorf("a lease of %v ends in %v", lease, got)
			}
			ids = append(ids, f.ID)
		}
		at := time.Now()
		for _, s := range []struct {
			after time.Duration
			want  [3]bool
		}{
			{leastLease - 1, [3]bool{true, true, true}},
			{leastLease, [3]bool{true, false, true}},
			{DefaultLease - 1, [3]bool{true, false, true}},
			{DefaultLease, [3]bool{false, false, true}},
			{10*time.Second - 1, [3]bool{false, false, true}},
			{10 * time.Second, [3]bool{}},
		} {
			time.Sleep(time.Until(at.Add(s.after)))
			for n, want := range s.want {
				if got := there(ids[n]); got != want {
					t.Errorf("fault %d after %v: %t", n, s.after, got)
				}
			}
		}
		if _, err := i.Renew(ids[0], nil, 0); !errors.Is(err, ErrUnknown) {
			t.Errorf("a lease that has ended is renewed: error %v", err)
		}

		f, err := i.Start(Request{Kind: Churn, By: "the test"})
		if err != nil {
			t.Fatal(err)
		}
		for range 120 {
			time.Sleep(500 * time.Millisecond)
			if _, err := i.Renew(f.ID, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		// What is refused neither ends it nor renews it.
		time.Sleep(time.Second)
		if _, err := i.Renew(f.ID, nil, time.Hour); !errors.As(err, new(*RequestError)) {
			t.Errorf("error %v", err)
		}
		time.Sleep(time.Second - 1)
		if !there(f.ID) {
			t.Error("it ended before its lease did")
		}
		time.Sleep(time.Nanosecond)
		if there(f.ID) {
			t.Error("it goes on after its lease")
		}
	})
}

// TestRaceOfLeaseAndRenewal renews at the very instant of the end: either it is
// renewed and goes on, or it is refused and has ended.
func TestRaceOfLeaseAndRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInjector(t, Options{})
		for range 50 {
			f, err := i.Start(Request{Kind: Goroutines, Level: 1, By: "the test"})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(DefaultLease)
			_, err = i.Renew(f.ID, nil, time.Minute)
			synctest.Wait()
			if n := len(i.Status().Active); (n == 1) != (err == nil) {
				t.Fatalf("%d faults, and renewing said %v", n, err)
			}
			i.StopAll("the test")
		}
	})
}

// Garbage and collections of a minute, in no time: rates are kept over a long time.
func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := newInjector(t, Options{})
		for _, tt := range []struct {
			kind  Kind
			level float64
			size  uint64
		}{{Churn, 300_000, 0}, {Churn, 300_000, 100_000}, {ForcedGC, 0.3, 0}, {Finalizers, 200, 16}} {
			f, err := i.Start(Request{Kind: tt.kind, Level: tt.level, Size: tt.size, Lease: time.Hour, By: "the test"})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			got, want := status(t, i, f.ID), tt.level*60
			one := max(float64(tt.size), 1)
			if tt.kind == Churn && tt.size == 0 {
				one = 48 << 10
			}
			if d := float64(got.Total) - want; d > one+want/100 || d < -one-want/100 {
				t.Errorf("%s at %g: %d in a minute, want %g", tt.kind, tt.level, got.Total, want)
			}
			if d := got.Reached/tt.level - 1; d > 0.35 || d < -0.35 {
				t.Errorf("%s at %g: a rate of %g", tt.kind, tt.level, got.Reached)
			}
			if err := i.Stop(f.ID, "the test"); err != nil {
				t.Fatal(err)
			}
		}
	})
}
