package goproc

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

const tcpTable = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 101 1 0000 100 0 0 10 0
   1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 102 1 0000 100 0 0 10 0
   2: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 103 1 0000 100 0 0 10 0
   3: 00000000000000000000000001000000:1F92 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 104 1 0 100 0 0 10 0
   4: 0100007F:FFFFF 00000000:0000 0A 0:0 00:0 0 0 0 105 1 0
   5: 01007F:1F90 00000000:0000 0A 0:0 00:0 0 0 0 106 1 0
   6: short
`

func TestParseListening(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the table in this test is that of a little-endian machine")
	}
	all := map[uint64]bool{101: true, 103: true, 104: true, 105: true, 106: true}
	got := parseListening(strings.NewReader(tcpTable), all)
	want := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:8080"), netip.MustParseAddrPort("[::1]:8082")}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v: not what others listen on, no connection, nothing that is malformed", got, want)
	}
}

func FuzzParseListening(f *testing.F) {
	f.Add(tcpTable)
	f.Fuzz(func(t *testing.T, s string) {
		if n := len(parseListening(strings.NewReader(s), map[uint64]bool{0: true, 101: true})); n > maxListening {
			t.Errorf("%d addresses", n)
		}
	})
}
