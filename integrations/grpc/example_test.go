package heapwrightgrpc_test

import (
	"context"
	"fmt"
	"log"
	"net"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/heapwright/heapwright/guard"
	"github.com/heapwright/heapwright/guard/shed"
	heapwrightgrpc "github.com/heapwright/heapwright/integrations/grpc"
)

type service struct {
	testpb.UnimplementedTestServiceServer
}

func (service) UnaryCall(context.Context, *testpb.SimpleRequest) (*testpb.SimpleResponse, error) {
	return &testpb.SimpleResponse{}, nil
}

func (service) EmptyCall(context.Context, *testpb.Empty) (*testpb.Empty, error) {
	return &testpb.Empty{}, nil
}

func Example() {
	g, err := guard.Start(guard.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	options := heapwrightgrpc.Options{
		Exempt: []string{"/grpc.testing.TestService/EmptyCall"},
	}
	server := grpc.NewServer(
		grpc.ChainUnaryInterceptor(heapwrightgrpc.UnaryServerInterceptor(g.Gate(), options)),
		grpc.ChainStreamInterceptor(heapwrightgrpc.StreamServerInterceptor(g.Gate(), options)),
	)
	testpb.RegisterTestServiceServer(server, service{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go server.Serve(listener)
	defer server.Stop()

	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	client := testpb.NewTestServiceClient(conn)

	g.Gate().SetShares(shed.Shares{}) // as the guard does when it has to
	_, err = client.UnaryCall(context.Background(), &testpb.SimpleRequest{})
	s := status.Convert(err)
	fmt.Println(s.Code(), s.Message())
	for _, d := range s.Details() {
		if info, ok := d.(*errdetails.RetryInfo); ok {
			fmt.Println("a time to wait:", info.GetRetryDelay().AsDuration() > 0)
		}
	}
	_, err = client.EmptyCall(context.Background(), &testpb.Empty{})
	fmt.Println("exempt:", err)
	// Output:
	// ResourceExhausted too busy, try again later
	// a time to wait: true
	// exempt: <nil>
}
