//go:build race

package memlimit

const raceDetector = true
