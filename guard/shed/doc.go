// Package shed decides which requests a service takes on when it cannot serve all.
//
// A [Gate] admits a request or does not, at once: it has no queue. What it goes by is
// set from outside and may change at any time:
//
//   - the share of each class of requests that is admitted ([Gate.SetShares]), which
//     is how package guard sheds when memory or the collector is in trouble;
//   - the capacity ([Gate.SetCapacity]): how many bytes the requests in flight may
//     hold, by what each says it will cost. The classes are refused at different
//     fills, Low from 50 % of the capacity on, Normal from 90 %, High from 100 %.
//
// Critical requests are always admitted, and count. A request that is admitted is
// never cut off, whatever is set while it runs. [Handler] is the gate as net/http
// middleware.
//
// The package knows no signals and no states, and learns no limits: it is told. It
// does not measure what a request really allocates; the cost is the caller's word.
//
// # What is exact
//
// Counters lie in stripes, one for each P mostly, so that cores do not wait for each
// other's cache lines. While less than a quarter of the capacity is held, the
// stripes also take bytes from it in advance; above, they keep none. Bytes in advance
// count as held, so the bound is exact: admitting a request of a class below
// Critical never brings the bytes in flight above the class's part of the capacity.
// What does is: Critical requests; a capacity that is lowered while more is in flight,
// or set while requests are being admitted without one; and a request that costs more
// than its class's part, which is admitted when it is alone. Before a request is
// refused, what stripes have in advance is taken back: nobody is refused for it, but
// perhaps who asks at that very moment.
//
// Requests in flight return to exactly 0 when all tickets are returned, and so do
// the bytes.
//
// # What it costs
//
// On two virtual CPUs of an AMD EPYC with Go 1.26, between a handler that does nothing
// and the same behind a gate, in CPU time of the process, so that other load on the
// machine counts little; medians of eight runs of four million requests:
//
//	admitted, no capacity                 47 ns    48 ns with two goroutines
//	admitted, capacity far away                    49 ns
//	admitted, above a quarter of it                51 ns
//	refused by share, with the response           102 ns
//	refused by capacity, with the response         89 ns
//
// Above a quarter of the capacity all requests go through one
// word, for which cores wait when they are really at it at the same time. How it goes
// on 64 cores has not been measured.
//
// So little because an admitted request takes no lock, reads the clock only if it is
// the one in 17 that is timed, and finds its stripe through a sync.Pool. Nothing is
// allocated but by that pool, a few words for each P after a collection.
package shed
