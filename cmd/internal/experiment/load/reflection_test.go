package load

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
)

func healthFile() *descriptorpb.FileDescriptorProto {
	return protodesc.ToFileDescriptorProto(grpc_health_v1.File_grpc_health_v1_health_proto)
}

func TestEncodeJSON(t *testing.T) {
	files, err := protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{healthFile()}})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, service, method, text, want, err string }{
		{"plain", "grpc.health.v1.Health", "Check", `{"service":"a"}`, "\x0a\x01a", ""},
		{"empty", "grpc.health.v1.Health", "Check", `{}`, "", ""},
		{"number", "grpc.health.v1.Health", "Check", `{"service":"{seq}/{seq}"}`, "\x0a\x19000000000042/000000000042", ""},
		{"the mark itself", "grpc.health.v1.Health", "Check", `{"service":"739105826411{seq}"}`, "\x0a\x18739105826411000000000042", ""},
		{"number as a field", "grpc.health.v1.Health", "Check", `{"{seq}":"a"}`, "", "is not a grpc.health.v1.HealthCheckRequest"},
		{"number in white space", "grpc.health.v1.Health", "Check", `{"service":{seq}}`, "", "is not a grpc.health.v1.HealthCheckRequest"},
		{"another service", "grpc.health.v1.Wealth", "Check", `{}`, "", "has no service"},
		{"a message", "grpc.health.v1.HealthCheckRequest", "Check", `{}`, "", "is not a service"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m, err := encodeJSON(files, tt.service, tt.method, tt.text)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := m.with(42); string(got) != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			if first, second := m.with(1), m.with(2); len(m.at) > 0 && bytes.Equal(first, second) {
				t.Error("two requests share a message")
			}
		})
	}
}

// FuzzDescriptors has a server say anything about its messages.
func FuzzDescriptors(f *testing.F) {
	b, err := proto.Marshal(healthFile())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, `{"service":"{seq}"}`)
	f.Fuzz(func(t *testing.T, file []byte, text string) {
		d := &descriptorpb.FileDescriptorProto{}
		if proto.Unmarshal(file, d) != nil {
			return
		}
		set := map[string]*descriptorpb.FileDescriptorProto{d.GetName(): d}
		missingImport(set)
		files, err := protodesc.NewFiles(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{d}})
		if err != nil {
			return
		}
		for _, s := range d.Service {
			service := s.GetName()
			if p := d.GetPackage(); p != "" {
				service = p + "." + service
			}
			for _, m := range s.Method {
				message, err := encodeJSON(files, service, m.GetName(), text)
				if err != nil {
					continue
				}
				if a, b := message.with(1), message.with(999_999_999_999); len(a) != len(message.raw) || len(b) != len(message.raw) {
					t.Errorf("messages of %d and %d bytes from one of %d", len(a), len(b), len(message.raw))
				}
			}
		}
	})
}
