package demo

import (
	_ "embed"
	"strings"
)

//go:embed experiment.yaml
var experiment string

// Experiment is the plan of a short experiment on a built NATS server: its
// statistics pages, asked for over HTTP, at two settings of GOGC.
func Experiment(natsPath string) []byte {
	return []byte(strings.ReplaceAll(experiment, "NATS_SERVER", natsPath))
}
