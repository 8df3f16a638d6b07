//go:build !race

package sli

const raceDetector = false
