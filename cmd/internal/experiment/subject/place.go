package subject

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

const numPorts = 8

// ports finds free TCP ports on loopback. They are not held: another process may
// take one before the subject does, and the start is tried again then.
//
// They lie below the range that the kernel takes ports of clients from. A
// generator has thousands of those, and one that happens to have the number of
// the other process's server would keep that from starting.
func ports() ([numPorts]int, error) {
	const lowest, tries = 10000, 2000
	var found [numPorts]int
	highest := clientPorts()
	n := 0
	for range tries {
		p := 0 // any, where the kernel leaves too few
		if highest-lowest >= 1000 {
			p = lowest + rand.IntN(highest-lowest)
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
		if err != nil {
			continue
		}
		// Held until all are found, so that they differ.
		defer l.Close()
		found[n] = l.Addr().(*net.TCPAddr).Port
		if n++; n == numPorts {
			return found, nil
		}
	}
	return found, fmt.Errorf("there are no %d free TCP ports on 127.0.0.1", numPorts)
}

// clientPorts is the first port that the kernel may give to a client.
func clientPorts() int {
	b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if f := strings.Fields(string(b)); err == nil && len(f) == 2 {
		if low, err := strconv.Atoi(f[0]); err == nil && low > 0 && low < 1<<16 {
			return low
		}
	}
	return 32768 // the kernel's default
}

// placeholders replaces what the plan leaves open.
func placeholders(ports [numPorts]int, dir, variant string) *strings.Replacer {
	pairs := []string{"{dir}", dir, "{variant}", variant, "{port}", strconv.Itoa(ports[0])}
	for i := 1; i < numPorts; i++ {
		pairs = append(pairs, fmt.Sprintf("{port%d}", i+1), strconv.Itoa(ports[i]))
	}
	return strings.NewReplacer(pairs...)
}

// inherited are the variables that a subject has from us. Any other would make
// what is measured depend on the shell that it was measured from, and might be a
// secret: what a subject needs, its plan says.
var inherited = []string{
	"PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR",
}

// cookie is the variable by which a process that a subject has forked is known,
// wherever it went. Its value always has the same length, as the size of the
// environment may move the stack.
const cookie = "HEAPWRIGHT_SUBJECT"

// environment is that of the subject: the variables that it has from us, then the
// subject's, then the variant's. It is sorted, but for the cookie.
func environment(getenv func(string) (string, bool), s experiment.Subject, v experiment.Variant, id string, expand func(string) string) []string {
	all := map[string]string{}
	for _, name := range inherited {
		if value, ok := getenv(name); ok {
			all[name] = value
		}
	}
	for _, m := range []map[string]string{s.Env, v.Env} {
		for name, value := range m {
			all[name] = expand(value)
		}
	}
	for name, value := range map[string]string{"GOGC": v.GOGC, "GOMEMLIMIT": v.GOMEMLIMIT, "GODEBUG": v.GODEBUG} {
		if value != "" {
			all[name] = value
		}
	}
	if v.GOMAXPROCS > 0 {
		all["GOMAXPROCS"] = strconv.Itoa(v.GOMAXPROCS)
	}
	delete(all, cookie)
	env := []string{cookie + "=" + id}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		env = append(env, name+"="+all[name])
	}
	return env
}

// write puts the plan's files into dir, and nowhere else.
func write(dir string, files map[string]string, expand func(string) string) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !filepath.IsLocal(name) {
			return fmt.Errorf("the file %q of the plan is not inside {dir}", clean(name))
		}
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := writeFile(root, name, expand(files[name])); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(root *os.Root, name, text string) error {
	f, err := root.Create(name)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	_, err = w.WriteString(text)
	return errors.Join(err, w.Flush(), f.Close())
}
