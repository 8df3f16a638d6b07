package subject

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// buildFlags are the flags of go build that a variant may have, and whether they
// take a value. The others say where the result goes, run other programs, or have
// a key of the plan.
var buildFlags = map[string]bool{
	"a": false, "asan": false, "asmflags": true, "buildmode": true, "cover": false, "covermode": true, "coverpkg": true,
	"gccgoflags": true, "gcflags": true, "installsuffix": true, "ldflags": true, "linkshared": false, "mod": true,
	"modcacherw": false, "msan": false, "p": true, "race": false, "trimpath": false,
}

var planKeys = map[string]string{
	"tags": "tags", "pgo": "pgo", "o": "nothing: the result is kept in the cache",
}

var (
	toolchainName  = regexp.MustCompile(`^go1\.\d{1,3}(\.\d{1,3}|(rc|beta)\d{1,2})?$`)
	experimentName = regexp.MustCompile(`^[a-z0-9]+(,[a-z0-9]+)*$`)
	tagName        = regexp.MustCompile(`^[\pL\pN_.]+$`)
)

// CheckBuild says what is wrong with how a variant is to be built. It does not
// build.
func CheckBuild(s experiment.Subject, v experiment.Variant) error {
	n := 0
	for _, set := range []bool{len(s.Command) > 0, s.Package != "", s.Source != "", s.Git != nil} {
		if set {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("the subject has %d of command, package, source and git: give one", n)
	}
	built := v.Toolchain != "" || v.GOEXPERIMENT != "" || len(v.BuildFlags) > 0 || len(v.Tags) > 0 || v.PGO != ""
	switch {
	case len(s.Command) > 0 && built:
		return fmt.Errorf("a command is run as it is: toolchain, goexperiment, build_flags, tags and pgo need package, source or git")
	case v.Revision != "" && s.Git == nil:
		return fmt.Errorf("revision needs a git subject")
	case v.Version != "" && s.Package == "":
		return fmt.Errorf("version needs a package subject")
	case v.Toolchain != "" && !toolchainName.MatchString(v.Toolchain):
		return fmt.Errorf("toolchain %q: write go1.27.4", clean(v.Toolchain))
	case v.GOEXPERIMENT != "" && !experimentName.MatchString(v.GOEXPERIMENT):
		return fmt.Errorf("goexperiment %q: write names with commas between, such as greenteagc", clean(v.GOEXPERIMENT))
	}
	for _, t := range v.Tags {
		if !tagName.MatchString(t) {
			return fmt.Errorf("tag %q: a tag is letters, digits, dots and underscores", clean(t))
		}
	}
	return checkFlags(v.BuildFlags)
}

func checkFlags(flags []string) error {
	for i := 0; i < len(flags); i++ {
		f := flags[i]
		name, _, valued := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(f, "-"), "-"), "=")
		takes, known := buildFlags[name]
		switch {
		case !strings.HasPrefix(f, "-"):
			return fmt.Errorf("build_flags: %q is not a flag; the package is named by the subject", clean(f))
		case planKeys[name] != "":
			return fmt.Errorf("build_flags: -%s has a key of its own: %s", name, planKeys[name])
		case !known:
			return fmt.Errorf("build_flags: %q may not be set here", clean(f))
		case takes && !valued:
			if i++; i == len(flags) {
				return fmt.Errorf("build_flags: %s needs a value", clean(f))
			}
		}
	}
	return nil
}
