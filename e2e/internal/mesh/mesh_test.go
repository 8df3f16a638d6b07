//go:build chaosmesh

// Package mesh holds workflows that are exported against the types and the validation of
// Chaos Mesh itself. It is a package of its own, behind a build tag, since those bring
// some hundred packages of Kubernetes with them: make chaos-mesh runs it. What it has
// read, the golden files, is what the exporter's own tests compare with.
package mesh

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chaos-mesh/chaos-mesh/api/v1alpha1"
	"sigs.k8s.io/yaml"
)

// Workflows that are exported have the keys of Chaos Mesh's own types, and its own
// validation takes them.
func TestStressMesh(t *testing.T) {
	texts := map[string][]byte{}
	files, err := filepath.Glob("../../../cmd/internal/chaos/mesh/testdata/*.yaml")
	if err != nil || len(files) < 2 {
		t.Fatalf("%d workflows, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[filepath.Base(file)] = text
	}
	for name, text := range texts {
		if problem := valid(t, text); problem != nil {
			t.Errorf("%s: %v", name, problem)
		}
	}
	// It is Chaos Mesh that says so: what is wrong is not taken.
	full := string(texts["full.yaml"])
	for old, wrong := range map[string]string{
		"oomScoreAdj:":            "oomScore:",
		"templateType: Suspend":   "templateType: Sleep",
		"    - with-check-half\n": "    - nothing\n",
		"size: 268435456B":        "size: much",
		"latency: 250000us":       "latency: long",
		"- name: most\n":          "- name: Most\n",
		"mode: one":               "mode: fixed",
		"direction: to":           "direction: from",
		"externalTargets:":        "externalTarget:",
		"abortWithStatusCheck:":   "abort:",
		"entry: plan":             "entry: end",
		"deadline: 10s":           "deadline: \"\"",
		"successThreshold: 10":    "successThreshold: many",
		"labelSelectors:":         "labelSelector:",
		"- redis.default":         "- {host: redis.default}",
		"containerNames:":         "containers:",
	} {
		if !strings.Contains(full, old) {
			t.Errorf("no %q to change", old)
			continue
		}
		if valid(t, []byte(strings.Replace(full, old, wrong, 1))) == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
}

// valid holds a workflow against the types and the webhooks of Chaos Mesh.
func valid(t *testing.T, text []byte) error {
	t.Helper()
	w := new(v1alpha1.Workflow)
	if err := yaml.UnmarshalStrict(bytes.TrimSpace(text), w); err != nil {
		return err
	}
	_, err := w.ValidateCreate(t.Context(), w)
	return err
}
