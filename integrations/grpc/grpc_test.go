package heapwrightgrpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"github.com/heapwright/heapwright/guard/shed"
)

const (
	unaryMethod  = "/grpc.testing.TestService/UnaryCall"
	emptyMethod  = "/grpc.testing.TestService/EmptyCall"
	streamMethod = "/grpc.testing.TestService/FullDuplexCall"
)

// An echo answers what it gets; hold, where set, is called first.
type echo struct {
	testpb.UnimplementedTestServiceServer
	hold func(context.Context)
}

func (s *echo) UnaryCall(ctx context.Context, r *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	if s.hold != nil {
		s.hold(ctx)
	}
	return &testpb.SimpleResponse{Payload: r.Payload}, nil
}

func (s *echo) EmptyCall(context.Context, *testpb.Empty) (*testpb.Empty, error) {
	return &testpb.Empty{}, nil
}

func (s *echo) FullDuplexCall(stream testpb.TestService_FullDuplexCallServer) error {
	if s.hold != nil {
		s.hold(stream.Context())
	}
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := stream.Send(&testpb.StreamingOutputCallResponse{Payload: r.Payload}); err != nil {
			return err
		}
	}
}

// A rig is a server with the interceptors, and a client of it.
type rig struct {
	testpb.TestServiceClient
	conn   *grpc.ClientConn
	panics atomic.Int64
}

// transports are what a rig is run on.
var transports = map[string]func(testing.TB) (net.Listener, string, []grpc.DialOption){
	"tcp": func(t testing.TB) (net.Listener, string, []grpc.DialOption) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l, l.Addr().String(), nil
	},
	"memory": func(testing.TB) (net.Listener, string, []grpc.DialOption) {
		l := bufconn.Listen(1 << 20)
		return l, "passthrough:memory", []grpc.DialOption{
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
		}
	},
}

func newRig(t testing.TB, transport string, s *echo, gate *shed.Gate, o Options, dial ...grpc.DialOption) *rig {
	r := &rig{}
	var opts []grpc.ServerOption
	if gate != nil {
		// What is outside recovers panics, as servers of services do.
		opts = append(opts,
			grpc.ChainUnaryInterceptor(func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (_ any, err error) {
				defer r.recover(&err)
				return handler(ctx, request)
			}, UnaryServerInterceptor(gate, o)),
			grpc.ChainStreamInterceptor(func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
				defer r.recover(&err)
				return handler(server, stream)
			}, StreamServerInterceptor(gate, o)),
		)
	}
	server := grpc.NewServer(opts...)
	testpb.RegisterTestServiceServer(server, s)
	healthpb.RegisterHealthServer(server, health.NewServer())
	listener, target, more := transports[transport](t)
	served := make(chan error)
	go func() { served <- server.Serve(listener) }()
	dial = append(append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, more...), dial...)
	conn, err := grpc.NewClient(target, dial...)
	if err != nil {
		t.Fatal(err)
	}
	r.conn, r.TestServiceClient = conn, testpb.NewTestServiceClient(conn)
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		server.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if gate != nil {
			if s := gate.Stats(); s.InFlight != 0 || s.InFlightBytes != 0 {
				t.Errorf("when all has ended, %d calls of %d bytes are in flight", s.InFlight, s.InFlightBytes)
			}
		}
	})
	return r
}

func (r *rig) recover(err *error) {
	if p := recover(); p != nil {
		r.panics.Add(1)
		*err = status.Errorf(codes.Internal, "panic: %v", p)
	}
}

func onEach(t *testing.T, f func(t *testing.T, transport string)) {
	for name := range transports {
		t.Run(name, func(t *testing.T) { f(t, name) })
	}
}

// closed is a gate that admits nothing but Critical.
func closed() *shed.Gate {
	g := shed.NewGate(shed.Options{})
	g.SetShares(shed.Shares{})
	return g
}

// wantRefused checks an answer of a gate, and what it says of when to come again.
func wantRefused(t *testing.T, err error, trailer metadata.MD, base time.Duration) {
	t.Helper()
	s, ok := status.FromError(err)
	if !ok || s.Code() != codes.ResourceExhausted || s.Message() != "too busy, try again later" {
		t.Errorf("error %v", err)
		return
	}
	if len(s.Details()) != 1 {
		t.Errorf("details %v", s.Details())
		return
	}
	info, ok := s.Details()[0].(*errdetails.RetryInfo)
	if !ok {
		t.Errorf("details %v", s.Details())
		return
	}
	wait := info.GetRetryDelay().AsDuration()
	if wait < base || wait >= 2*base {
		t.Errorf("a retry is asked for after %v, want %v to twice that", wait, base)
	}
	if got, want := trailer.Get("grpc-retry-pushback-ms"), []string{strconv.FormatInt(wait.Milliseconds(), 10)}; !slices.Equal(got, want) {
		t.Errorf("pushback %q, want %q", got, want)
	}
}

func TestRefused(t *testing.T) {
	onEach(t, func(t *testing.T, transport string) {
		ctx := t.Context()
		gate := closed()
		var told []string
		var mu sync.Mutex
		r := newRig(t, transport, &echo{}, gate, Options{
			Exempt:     []string{emptyMethod},
			RetryAfter: 3 * time.Second,
			OnShed: func(_ context.Context, method string) {
				mu.Lock()
				defer mu.Unlock()
				told = append(told, method)
				panic("broken")
			},
		})
		waits := map[string]bool{}
		for range 20 {
			var trailer metadata.MD
			_, err := r.UnaryCall(ctx, &testpb.SimpleRequest{}, grpc.Trailer(&trailer))
			wantRefused(t, err, trailer, 3*time.Second)
			waits[fmt.Sprint(trailer)] = true
		}
		if len(waits) < 2 {
			t.Errorf("all clients are to wait for as long: %v", waits)
		}
		stream, err := r.FullDuplexCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_, err = stream.Recv()
		wantRefused(t, err, stream.Trailer(), 3*time.Second)

		if _, err := r.EmptyCall(ctx, &testpb.Empty{}); err != nil {
			t.Errorf("an exempt method: %v", err)
		}
		if _, err := healthpb.NewHealthClient(r.conn).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil {
			t.Errorf("a health check: %v", err)
		}
		watch, err := healthpb.NewHealthClient(r.conn).Watch(ctx, &healthpb.HealthCheckRequest{})
		if err == nil {
			_, err = watch.Recv()
		}
		if err != nil {
			t.Errorf("watching health: %v", err)
		}
		s := gate.Stats()
		if s.Shed() != (shed.Counts{shed.Normal: 21}) || s.Admitted != (shed.Counts{shed.Critical: 1}) {
			t.Errorf("shed %v, admitted %v", s.Shed(), s.Admitted)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(told) != 21 || told[0] != unaryMethod || told[20] != streamMethod {
			t.Errorf("OnShed was told of %q", told)
		}
	})
}

func TestClasses(t *testing.T) {
	byMethod := ClassByMethod(map[string]shed.Class{unaryMethod: shed.High, "/grpc.testing.TestService/": shed.Low})
	for _, tt := range []struct {
		name   string
		o      Options
		method string
		want   shed.Class
	}{
		{"nothing", Options{}, unaryMethod, shed.Normal},
		{"method", Options{Class: byMethod}, unaryMethod, shed.High},
		{"service", Options{Class: byMethod}, emptyMethod, shed.Low},
		{"another service", Options{Class: byMethod}, "/a.B/C", shed.Normal},
		{"no method", Options{Class: byMethod, Exempt: []string{"/"}}, "", shed.Normal},
		{"exempt method", Options{Class: byMethod, Exempt: []string{emptyMethod}}, emptyMethod, shed.Critical},
		{"exempt service", Options{Exempt: []string{"/grpc.testing.TestService/"}}, emptyMethod, shed.Critical},
		{"another exempt", Options{Exempt: []string{"/grpc.testing.Test", emptyMethod + "s"}}, emptyMethod, shed.Normal},
		{"panics", Options{Class: func(context.Context, string) shed.Class { panic("broken") }}, unaryMethod, shed.Normal},
		{"by metadata", Options{Class: func(ctx context.Context, _ string) shed.Class {
			if len(metadata.ValueFromIncomingContext(ctx, "batch")) > 0 {
				return shed.Low
			}
			return shed.High
		}}, unaryMethod, shed.Low},
	} {
		ctx := metadata.NewIncomingContext(context.Background(), metadata.Pairs("batch", "1"))
		gate := shed.NewGate(shed.Options{})
		_, err := UnaryServerInterceptor(gate, tt.o)(ctx, nil, &grpc.UnaryServerInfo{FullMethod: tt.method}, func(context.Context, any) (any, error) {
			return nil, nil
		})
		want := shed.Counts{}
		want[tt.want] = 1
		if got := gate.Stats().Admitted; err != nil || got != want {
			t.Errorf("%s: admitted %v, error %v, want %v", tt.name, got, err, want)
		}
	}
}

func TestCost(t *testing.T) {
	panics := func(context.Context, string) int64 { panic("broken") }
	request := &testpb.SimpleRequest{Payload: &testpb.Payload{Body: make([]byte, 100_000)}}
	for _, tt := range []struct {
		name    string
		o       Options
		request any
		want    int64
	}{
		{"message", Options{}, request, 16<<10 + int64(proto.Size(request))},
		{"no message", Options{}, "text", 16 << 10},
		{"own", Options{Cost: func(_ context.Context, _ string, request any) int64 { return int64(len(request.(string))) }}, "text", 4},
		{"panics", Options{Cost: func(context.Context, string, any) int64 { panic("broken") }}, "text", 16 << 10},
		{"stream", Options{}, nil, 64 << 10},
		{"own of a stream", Options{StreamCost: func(context.Context, string) int64 { return 123 }}, nil, 123},
		{"panics of a stream", Options{StreamCost: panics}, nil, 64 << 10},
	} {
		gate := shed.NewGate(shed.Options{Capacity: 1 << 40})
		var during shed.Stats
		var err error
		if tt.request != nil {
			_, err = UnaryServerInterceptor(gate, tt.o)(context.Background(), tt.request, &grpc.UnaryServerInfo{FullMethod: unaryMethod}, func(context.Context, any) (any, error) {
				during = gate.Stats()
				return nil, nil
			})
		} else {
			err = StreamServerInterceptor(gate, tt.o)(nil, fakeStream{ctx: context.Background()}, &grpc.StreamServerInfo{FullMethod: streamMethod}, func(any, grpc.ServerStream) error {
				during = gate.Stats()
				return nil
			})
		}
		after := gate.Stats()
		if err != nil || during.InFlightBytes != tt.want || during.InFlight != 1 || after.InFlightBytes != 0 || after.InFlight != 0 {
			t.Errorf("%s: %d bytes in flight, want %d; after it %d of %d calls; error %v", tt.name, during.InFlightBytes, tt.want, after.InFlightBytes, after.InFlight, err)
		}
	}
}

type fakeStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s fakeStream) Context() context.Context { return s.ctx }

// TestPanic has handlers that panic: their calls do not stay in flight.
func TestPanic(t *testing.T) {
	onEach(t, func(t *testing.T, transport string) {
		gate := shed.NewGate(shed.Options{Capacity: 1 << 20})
		r := newRig(t, transport, &echo{hold: func(context.Context) { panic("broken") }}, gate, Options{})
		for range 50 {
			if _, err := r.UnaryCall(t.Context(), &testpb.SimpleRequest{}); status.Code(err) != codes.Internal {
				t.Fatalf("error %v", err)
			}
			stream, err := r.FullDuplexCall(t.Context())
			if err == nil {
				_, err = stream.Recv()
			}
			if status.Code(err) != codes.Internal {
				t.Fatalf("error %v", err)
			}
		}
		if n := r.panics.Load(); n != 100 {
			t.Errorf("%d panics came through, want 100", n)
		}
		if s := gate.Stats(); s.InFlight != 0 || s.InFlightBytes != 0 || s.Completed != (shed.Counts{shed.Normal: 100}) {
			t.Errorf("stats %+v", s)
		}
	})
}

// TestStreamHoldsItsPlace fills the capacity with streams that are open.
func TestStreamHoldsItsPlace(t *testing.T) {
	onEach(t, func(t *testing.T, transport string) {
		const cost = 1 << 20
		gate := shed.NewGate(shed.Options{Capacity: 10 * cost})
		r := newRig(t, transport, &echo{}, gate, Options{StreamCost: func(context.Context, string) int64 { return cost }})
		var open []testpb.TestService_FullDuplexCallClient
		send := func(s testpb.TestService_FullDuplexCallClient) error {
			if err := s.Send(&testpb.StreamingOutputCallRequest{Payload: &testpb.Payload{Body: []byte("x")}}); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			_, err := s.Recv()
			return err
		}
		// Normal may fill nine tenths.
		for i := range 12 {
			s, err := r.FullDuplexCall(t.Context())
			if err == nil {
				err = send(s)
			}
			if i < 9 {
				if err != nil {
					t.Fatalf("stream %d: %v", i, err)
				}
				open = append(open, s)
			} else {
				wantRefused(t, err, s.Trailer(), 2*time.Second)
			}
		}
		if got := gate.Stats().InFlightBytes; got != 9*cost {
			t.Errorf("%d bytes in flight", got)
		}
		for _, s := range open {
			if err := send(s); err != nil {
				t.Errorf("an open stream: %v", err)
			}
			if err := s.CloseSend(); err != nil {
				t.Error(err)
			}
			if _, err := s.Recv(); !errors.Is(err, io.EOF) {
				t.Errorf("the end of a stream: %v", err)
			}
		}
		s, err := r.FullDuplexCall(t.Context())
		if err == nil {
			err = send(s)
		}
		if err != nil {
			t.Errorf("after the streams have ended: %v", err)
		}
		if err := s.CloseSend(); err != nil {
			t.Error(err)
		}
		if _, err := s.Recv(); !errors.Is(err, io.EOF) {
			t.Error(err)
		}
	})
}

// TestRetry has a client whose service config says to retry, and a gate that opens:
// gRPC itself waits for as long as it was told to, and calls again.
func TestRetry(t *testing.T) {
	onEach(t, func(t *testing.T, transport string) {
		const base = 50 * time.Millisecond
		gate := closed()
		var refused []time.Time
		var admitted time.Time
		r := newRig(t, transport,
			&echo{hold: func(context.Context) { admitted = time.Now() }},
			gate,
			Options{RetryAfter: base, OnShed: func(context.Context, string) {
				refused = append(refused, time.Now())
				if len(refused) == 2 {
					gate.SetShares(shed.All())
				}
			}},
			// The client's own backoff would end the test with a time-out.
			grpc.WithDefaultServiceConfig(`{"methodConfig": [{"name": [{}], "retryPolicy": {
				"maxAttempts": 5, "initialBackoff": "3600s", "maxBackoff": "3600s", "backoffMultiplier": 1,
				"retryableStatusCodes": ["RESOURCE_EXHAUSTED"]}}]}`))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := r.UnaryCall(ctx, &testpb.SimpleRequest{}); err != nil {
			t.Fatal(err)
		}
		if len(refused) != 2 || refused[1].Sub(refused[0]) < base || admitted.Sub(refused[1]) < base {
			t.Errorf("refused at %v, admitted at %v, and asked to wait %v", refused, admitted, base)
		}
	})
}

// TestLoad calls from many sides into a capacity that is too small for all: each
// call is served whole, or refused as it should be.
func TestLoad(t *testing.T) {
	onEach(t, func(t *testing.T, transport string) {
		const clients, calls, body = 16, 50, 100_000
		gate := shed.NewGate(shed.Options{Capacity: 8 * body})
		r := newRig(t, transport, &echo{hold: func(context.Context) { time.Sleep(time.Millisecond) }}, gate, Options{})
		var served, refused atomic.Int64
		payload := &testpb.Payload{Body: make([]byte, body)}
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				for range calls {
					var n int
					var err error
					var trailer metadata.MD
					if i%2 == 0 {
						var response *testpb.SimpleResponse
						response, err = r.UnaryCall(t.Context(), &testpb.SimpleRequest{Payload: payload}, grpc.Trailer(&trailer))
						n = len(response.GetPayload().GetBody())
					} else {
						var s testpb.TestService_FullDuplexCallClient
						if s, err = r.FullDuplexCall(t.Context()); err == nil {
							_ = s.Send(&testpb.StreamingOutputCallRequest{Payload: payload}) // what Recv says counts
							_ = s.CloseSend()
							var response *testpb.StreamingOutputCallResponse
							response, err = s.Recv()
							n = len(response.GetPayload().GetBody())
							if err == nil {
								_, end := s.Recv()
								if !errors.Is(end, io.EOF) {
									err = end
								}
							}
							trailer = s.Trailer()
						}
					}
					if err != nil {
						refused.Add(1)
						wantRefused(t, err, trailer, 2*time.Second)
						continue
					}
					served.Add(1)
					if n != body {
						t.Errorf("%d bytes came back", n)
					}
				}
			})
		}
		wg.Wait()
		s := gate.Stats()
		if got := int64(s.Shed().Total()); got != refused.Load() || got == 0 {
			t.Errorf("the gate refused %d calls, the clients saw %d", got, refused.Load())
		}
		if got := int64(s.Admitted.Total()); got != served.Load() || got == 0 {
			t.Errorf("the gate admitted %d calls, the clients saw %d", got, served.Load())
		}
	})
}

// BenchmarkInterceptor is what an interceptor adds to a call.
func BenchmarkInterceptor(b *testing.B) {
	request := &testpb.SimpleRequest{Payload: &testpb.Payload{Body: make([]byte, 1000)}}
	info := &grpc.UnaryServerInfo{FullMethod: unaryMethod}
	handler := func(context.Context, any) (any, error) { return nil, nil }
	classes := ClassByMethod(map[string]shed.Class{emptyMethod: shed.High})
	for _, bm := range []struct {
		name    string
		gate    *shed.Gate
		o       Options
		request any
	}{
		{"admitted", shed.NewGate(shed.Options{Capacity: 1 << 40}), Options{Class: classes}, request},
		{"admitted_cost_given", shed.NewGate(shed.Options{Capacity: 1 << 40}), Options{Cost: func(context.Context, string, any) int64 { return 1000 }}, request},
		{"shed", closed(), Options{}, request},
	} {
		b.Run(bm.name, func(b *testing.B) {
			intercept := UnaryServerInterceptor(bm.gate, bm.o)
			ctx := context.Background()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, _ = intercept(ctx, bm.request, info, handler)
				}
			})
		})
	}
}

// BenchmarkCall is a whole call, without and with the interceptors.
func BenchmarkCall(b *testing.B) {
	for _, bm := range []struct {
		name string
		gate *shed.Gate
	}{
		{"plain", nil},
		{"admitted", shed.NewGate(shed.Options{Capacity: 1 << 40})},
		{"shed", closed()},
	} {
		b.Run(bm.name, func(b *testing.B) {
			r := newRig(b, "tcp", &echo{}, bm.gate, Options{})
			request := &testpb.SimpleRequest{Payload: &testpb.Payload{Body: make([]byte, 1000)}}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_, err := r.UnaryCall(context.Background(), request)
					if (err != nil) != (bm.name == "shed") {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
