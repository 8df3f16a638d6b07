// Package heapwrightgrpc sheds load of a gRPC server: interceptors that ask a
// shed.Gate, such as a guard's, whether a call may be served, and else answer
// RESOURCE_EXHAUSTED with the time to wait before a retry.
//
//	g, err := guard.Start(guard.Config{})
//	...
//	server := grpc.NewServer(
//		grpc.ChainUnaryInterceptor(heapwrightgrpc.UnaryServerInterceptor(g.Gate(), heapwrightgrpc.Options{})),
//		grpc.ChainStreamInterceptor(heapwrightgrpc.StreamServerInterceptor(g.Gate(), heapwrightgrpc.Options{})),
//	)
//
// Put them before the interceptors that do work for a call. An interceptor runs when
// the request of a unary call has been received: how much of those a server takes
// in at once is bounded by grpc.MaxRecvMsgSize and grpc.MaxConcurrentStreams, not by
// this package. A call that was admitted is never ended.
package heapwrightgrpc

import (
	"context"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/heapwright/heapwright/guard/shed"
)

const (
	// baseCost is what a call holds at the least: its goroutine's stack, its stream,
	// its metadata.
	baseCost = 16 << 10
	// healthService is never shed: who asks it decides whether the process lives.
	healthService = "/grpc.health.v1.Health/"
)

// Options are what interceptors are made with. The zero Options are good.
type Options struct {
	// Class says how much a call matters, by its method, "/package.Service/Method",
	// and its metadata (metadata.FromIncomingContext). Without it, ClassByMethod of
	// nothing: Normal.
	Class func(ctx context.Context, fullMethod string) shed.Class
	// Exempt are methods, "/package.Service/Method", and services,
	// "/package.Service/", that are never shed whatever Class says: those that
	// complete, cancel or release what other calls began. They count as in flight.
	Exempt []string
	// Cost says how many bytes the service will hold for a unary call, about. Without
	// it that is 16 KiB, plus the size of the request where it is a proto.Message.
	Cost func(ctx context.Context, fullMethod string, request any) int64
	// StreamCost is what a stream counts for in bytes, from its first to its last
	// message, whatever is sent. Without it that is 64 KiB, a flow control window.
	StreamCost func(ctx context.Context, fullMethod string) int64
	// RetryAfter is the shortest time that a client is told to wait, and half the
	// longest; 2 s by default. The client finds it in the status, as a RetryInfo, and
	// if it retries RESOURCE_EXHAUSTED by its service config, gRPC keeps to it by itself.
	RetryAfter time.Duration
	// OnShed is called for each refused call, in its goroutine.
	OnShed func(ctx context.Context, fullMethod string)
}

// streamCost is the receive window of an HTTP/2 stream that a client may fill
// unasked (grpc-go internal/transport/defaults.go, defaultWindowSize: 65535).
const streamCost = 64 << 10

// ClassByMethod returns a function for Options.Class that classifies by method,
// "/package.Service/Method", or else by service, "/package.Service/"; Normal when
// neither is listed.
func ClassByMethod(classes map[string]shed.Class) func(ctx context.Context, fullMethod string) shed.Class {
	return func(_ context.Context, fullMethod string) shed.Class {
		if c, ok := classes[fullMethod]; ok {
			return c
		}
		return classes[service(fullMethod)]
	}
}

// service returns "/package.Service/" of a method.
func service(fullMethod string) string { return fullMethod[:strings.LastIndexByte(fullMethod, '/')+1] }

// UnaryServerInterceptor returns an interceptor for grpc.ChainUnaryInterceptor.
func UnaryServerInterceptor(gate *shed.Gate, o Options) grpc.UnaryServerInterceptor {
	p := newPolicy(o)
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		if isHealth(info.FullMethod) {
			return handler(ctx, request)
		}
		ticket, ok := gate.Admit(p.class(ctx, info.FullMethod), p.cost(ctx, info.FullMethod, request))
		if !ok {
			r := p.refuse(ctx, info.FullMethod)
			_ = grpc.SetTrailer(ctx, r.trailer) // fails outside of a server only
			return nil, r.err
		}
		defer ticket.Done()
		return handler(ctx, request)
	}
}

// StreamServerInterceptor returns an interceptor for grpc.ChainStreamInterceptor. A
// stream is decided about once, and counts as in flight until its handler returns.
func StreamServerInterceptor(gate *shed.Gate, o Options) grpc.StreamServerInterceptor {
	p := newPolicy(o)
	return func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if isHealth(info.FullMethod) {
			return handler(server, stream)
		}
		ctx := stream.Context()
		ticket, ok := gate.Admit(p.class(ctx, info.FullMethod), p.streamCost(ctx, info.FullMethod))
		if !ok {
			r := p.refuse(ctx, info.FullMethod)
			stream.SetTrailer(r.trailer)
			return r.err
		}
		defer ticket.Done()
		return handler(server, stream)
	}
}

func isHealth(fullMethod string) bool { return strings.HasPrefix(fullMethod, healthService) }

// A policy is Options made ready.
type policy struct {
	o        Options
	refusals []refusal
}

// A refusal is an answer that says to wait a certain time.
type refusal struct {
	err     error
	trailer metadata.MD
}

func newPolicy(o Options) *policy {
	o.Exempt = slices.Clone(o.Exempt)
	p := &policy{o: o}
	base := o.RetryAfter
	if base <= 0 {
		base = 2 * time.Second
	}
	base = min(base, 24*time.Hour)
	// Answers are made beforehand: when there are many, it is not the time to
	// allocate each. This many make the clients' return even enough.
	const steps = 64
	for i := range steps {
		wait := base + base*time.Duration(i)/steps
		s := status.New(codes.ResourceExhausted, "too busy, try again later")
		if detailed, err := s.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)}); err == nil {
			s = detailed
		}
		p.refusals = append(p.refusals, refusal{
			err: s.Err(),
			// https://github.com/grpc/proposal/blob/master/A6-client-retries.md#pushback
			trailer: metadata.Pairs("grpc-retry-pushback-ms", strconv.FormatInt(wait.Milliseconds(), 10)),
		})
	}
	return p
}

func (p *policy) class(ctx context.Context, fullMethod string) (c shed.Class) {
	if len(p.o.Exempt) > 0 && (slices.Contains(p.o.Exempt, fullMethod) || slices.Contains(p.o.Exempt, service(fullMethod))) {
		return shed.Critical
	}
	if p.o.Class == nil {
		return shed.Normal
	}
	defer recovered()
	return p.o.Class(ctx, fullMethod)
}

func (p *policy) cost(ctx context.Context, fullMethod string, request any) (bytes int64) {
	bytes = baseCost
	if p.o.Cost != nil {
		defer recovered()
		return p.o.Cost(ctx, fullMethod, request)
	}
	if m, ok := request.(proto.Message); ok {
		bytes += int64(proto.Size(m))
	}
	return bytes
}

func (p *policy) streamCost(ctx context.Context, fullMethod string) (bytes int64) {
	bytes = streamCost
	if p.o.StreamCost == nil {
		return bytes
	}
	defer recovered()
	return p.o.StreamCost(ctx, fullMethod)
}

func (p *policy) refuse(ctx context.Context, fullMethod string) refusal {
	if p.o.OnShed != nil {
		func() {
			defer recovered()
			p.o.OnShed(ctx, fullMethod)
		}()
	}
	return p.refusals[rand.IntN(len(p.refusals))]
}

// recovered ends a panic of a function in Options, which is no reason to fail a
// call; what it returns is then the default.
func recovered() { _ = recover() }
