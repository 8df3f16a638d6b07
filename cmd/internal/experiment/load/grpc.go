package load

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// BytesPlaceholder is what the bytes of a gRPC message have where the growing number
// belongs. It is as long as the number, so that the lengths in the message hold.
const BytesPlaceholder = "{seq_______}"

// A grpcSender calls one unary method, over connections that are kept.
type grpcSender struct {
	method  string
	message template
	conns   []*grpc.ClientConn // take turns
	turn    atomic.Uint64
}

func newGRPCSender(ctx context.Context, l *experiment.GRPCLoad, connections int) (*grpcSender, error) {
	if _, _, err := net.SplitHostPort(l.Address); err != nil {
		return nil, fmt.Errorf("the address of a gRPC load is HOST:PORT: %w", err)
	}
	service, method, err := splitMethod(l.Method)
	if err != nil {
		return nil, err
	}
	s := &grpcSender{method: l.Method}
	for range connections {
		c, err := grpc.NewClient("passthrough:///"+l.Address,
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithNoProxy(), grpc.WithDisableRetry(), grpc.WithDisableServiceConfig(),
			grpc.WithUserAgent("heapwright"),
			grpc.WithMaxHeaderListSize(maxAnswerHeader),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer)))
		if err != nil {
			s.close()
			return nil, err
		}
		s.conns = append(s.conns, c)
	}
	if l.Bytes != "" || l.JSON == "" {
		s.message, err = bytesTemplate(l.Bytes)
	} else {
		s.message, err = jsonTemplate(ctx, s.conns[0], service, method, l.JSON)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	for _, c := range s.conns {
		c.Connect()
	}
	return s, nil
}

// splitMethod splits /package.Service/Method.
func splitMethod(full string) (service, method string, err error) {
	rest, ok := strings.CutPrefix(full, "/")
	service, method, both := strings.Cut(rest, "/")
	if !ok || !both || service == "" || method == "" || strings.Contains(method, "/") {
		return "", "", fmt.Errorf("the method of a gRPC load is /package.Service/Method, not %q", full)
	}
	return service, method, nil
}

func (s *grpcSender) send(ctx context.Context, seq uint64, _ []byte) error {
	c := s.conns[s.turn.Add(1)%uint64(len(s.conns))]
	message := s.message.with(seq)
	if err := c.Invoke(ctx, s.method, message, nil, grpc.ForceCodecV2(rawCodec{})); err != nil {
		return fmt.Errorf("%s: %w", s.method, err)
	}
	return nil
}

func (s *grpcSender) close() {
	for _, c := range s.conns {
		c.Close()
	}
}

// A template is an encoded message, and where in it the number belongs.
type template struct {
	raw []byte
	at  []int
}

// bytesTemplate takes an encoded message in base64.
func bytesTemplate(text string) (template, error) {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return template{}, fmt.Errorf("the bytes of a gRPC load are not base64: %w", err)
	}
	if strings.Contains(string(raw), Placeholder) {
		return template{}, fmt.Errorf("the number in the bytes of a message takes the place of %s, of its length, not of %s", BytesPlaceholder, Placeholder)
	}
	return template{raw, indexAll(raw, BytesPlaceholder)}, nil
}

func indexAll(raw []byte, what string) []int {
	var at []int
	for from := 0; ; {
		i := strings.Index(string(raw[from:]), what)
		if i < 0 {
			return at
		}
		at = append(at, from+i)
		from += i + len(what)
	}
}

// with is the message with the number in it.
func (t template) with(seq uint64) []byte {
	if len(t.at) == 0 {
		return t.raw
	}
	b := append([]byte(nil), t.raw...)
	for _, at := range t.at {
		appendSeq(b[:at], seq)
	}
	return b
}

// A rawCodec takes messages that are encoded already, and does not look at answers.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" } // what servers take it for

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, errors.New("not an encoded message")
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (rawCodec) Unmarshal(mem.BufferSlice, any) error { return nil }
