package load

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

// Bounds of what a server may say about itself.
const (
	maxDescriptorFiles = 1000
	maxDescriptorBytes = 16 << 20
)

// reflections are the services that describe the others, the newer one first. Their
// messages are encoded alike.
var reflections = []string{
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}

// jsonTemplate asks the server what message a method takes, and encodes that.
func jsonTemplate(ctx context.Context, c *grpc.ClientConn, service, method, text string) (template, error) {
	var files *protoregistry.Files
	var err error
	for _, name := range reflections {
		files, err = describe(ctx, c, name, service)
		if status.Code(err) != codes.Unimplemented {
			break
		}
	}
	if status.Code(err) == codes.Unimplemented {
		return template{}, errors.New("the server has no reflection, which a message in JSON needs: register it, or give the message as bytes")
	}
	if err != nil {
		return template{}, fmt.Errorf("asking the server for its messages: %w", err)
	}
	return encodeJSON(files, service, method, text)
}

// encodeJSON encodes the message of a method.
func encodeJSON(files *protoregistry.Files, service, method, text string) (template, error) {
	d, err := files.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return template{}, fmt.Errorf("the server has no service %s: %w", service, err)
	}
	sd, ok := d.(protoreflect.ServiceDescriptor)
	if !ok {
		return template{}, fmt.Errorf("%s is not a service", service)
	}
	md := sd.Methods().ByName(protoreflect.Name(method))
	if md == nil {
		return template{}, fmt.Errorf("the service %s has no method %s", service, method)
	}
	if md.IsStreamingClient() || md.IsStreamingServer() {
		return template{}, fmt.Errorf("the method %s is a stream: a load calls unary methods", method)
	}
	// The number has to be found again in the encoded message: this one is not in the
	// text by itself.
	mark := uint64(739105826411)
	for strings.Contains(text, strconv.FormatUint(mark, 10)) {
		mark++
	}
	m := dynamicpb.NewMessage(md.Input())
	opt := protojson.UnmarshalOptions{Resolver: dynamicpb.NewTypes(files)}
	if err := opt.Unmarshal([]byte(withSeq(text, mark)), m); err != nil {
		return template{}, fmt.Errorf("the JSON of a gRPC load is not a %s: %w", md.Input().FullName(), err)
	}
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return template{}, err
	}
	t := template{raw, indexAll(raw, strconv.FormatUint(mark, 10))}
	if len(t.at) != strings.Count(text, Placeholder) {
		return template{}, fmt.Errorf("%s can only be within the text of a string field", Placeholder)
	}
	return t, nil
}

// describe collects the files that describe a service.
func describe(ctx context.Context, c *grpc.ClientConn, reflectionMethod, service string) (*protoregistry.Files, error) {
	ctx, cancel := context.WithTimeout(ctx, startPatience*2/3)
	defer cancel()
	stream, err := c.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, reflectionMethod, grpc.WaitForReady(true))
	if err != nil {
		return nil, err
	}
	set := map[string]*descriptorpb.FileDescriptorProto{}
	size := 0
	ask := func(q *reflection.ServerReflectionRequest) error {
		if err := stream.SendMsg(q); err != nil {
			// What is wrong comes with what is received.
			if rerr := stream.RecvMsg(&reflection.ServerReflectionResponse{}); rerr != nil {
				return rerr
			}
			return err
		}
		var a reflection.ServerReflectionResponse
		if err := stream.RecvMsg(&a); err != nil {
			return err
		}
		if e := a.GetErrorResponse(); e != nil {
			return fmt.Errorf("%s: %s", codes.Code(e.ErrorCode), e.ErrorMessage)
		}
		for _, b := range a.GetFileDescriptorResponse().GetFileDescriptorProto() {
			if size += len(b); size > maxDescriptorBytes || len(set) >= maxDescriptorFiles {
				return errors.New("the server describes itself at too great a length")
			}
			f := &descriptorpb.FileDescriptorProto{}
			if err := proto.Unmarshal(b, f); err != nil {
				return err
			}
			set[f.GetName()] = f
		}
		return nil
	}
	if err := ask(&reflection.ServerReflectionRequest{MessageRequest: &reflection.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: service}}); err != nil {
		return nil, err
	}
	// Some servers send a file with all it imports, some each on its own.
	for {
		missing := missingImport(set)
		if missing == "" {
			break
		}
		if known, err := protoregistry.GlobalFiles.FindFileByPath(missing); err == nil {
			set[missing] = protodesc.ToFileDescriptorProto(known)
			continue
		}
		if err := ask(&reflection.ServerReflectionRequest{MessageRequest: &reflection.ServerReflectionRequest_FileByFilename{FileByFilename: missing}}); err != nil {
			return nil, err
		}
		if set[missing] == nil {
			return nil, fmt.Errorf("the server does not describe %s, which it refers to", missing)
		}
	}
	all := &descriptorpb.FileDescriptorSet{}
	for _, f := range set {
		all.File = append(all.File, f)
	}
	return protodesc.NewFiles(all)
}

// missingImport is a file that another one imports and that is not there, or "".
func missingImport(set map[string]*descriptorpb.FileDescriptorProto) string {
	var missing []string
	for _, f := range set {
		for _, d := range f.GetDependency() {
			if set[d] == nil {
				missing = append(missing, d)
			}
		}
	}
	if len(missing) == 0 {
		return ""
	}
	return slices.Min(missing)
}
