package cli

import (
	"fmt"
	"math"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/forecast"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/cmd/internal/texttab"
	"github.com/heapwright/heapwright/pacer"
)

// The words of forecasts.
type (
	twin       = forecast.Twin
	asked      = forecast.Asked
	quantity   = forecast.Quantity
	forecasted = forecast.Outlook
	predicted  = forecast.Predicted
	parameter  = forecast.Parameter
)

var (
	quantityOf   = forecast.QuantityOf
	isKnown      = forecast.Known
	forecastedOf = forecast.OutlookOf
	parametersOf = forecast.ParametersOf
)

// finite returns nil, which JSON writes as null, for what is not a number.
func finite(v float64) *float64 { return forecast.Finite(v) }

// A unit writes values of one kind, and the ends of an interval in the same
// digits as the estimate between them.
type unit func(v, like float64) string

// bytesUnit writes bytes; an end has no unit of its own where it has that of the estimate.
func bytesUnit(v, like float64) string {
	text := compactBytes(v)
	if v == like {
		return text
	}
	digits := strings.TrimLeft(compactBytes(like), "0123456789.-")
	return strings.TrimSuffix(text, digits)
}

func percentUnit(v, like float64) string {
	text := percent(v)
	if a := math.Abs(like); a > 0 && a < 0.0095 { // most pauses are less than a thousandth
		text = significant(100*v) + "%"
	}
	if v == like {
		return text
	}
	return strings.TrimSuffix(text, "%")
}

func rateUnit(v, _ float64) string { return significant(v) }

// significant writes a number with three digits.
func significant(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a < 0.00995:
		return fmt.Sprintf("%.2g", v)
	case a < 0.0995:
		return fmt.Sprintf("%.3f", v)
	case a < 0.995:
		return fmt.Sprintf("%.2f", v)
	case a < 99.5:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// estimateText is the estimate alone.
func estimateText(e pacer.Estimate, u unit) string {
	if !isKnown(e) {
		return "-"
	}
	return u(e.Estimate, e.Estimate)
}

// rangeText is the interval alone, "" when there is none.
func rangeText(e pacer.Estimate, u unit) string {
	if !isKnown(e) || finite(e.Low) == nil || finite(e.High) == nil || e.Low == e.High {
		return ""
	}
	low, high := u(e.Low, e.Estimate), u(e.High, e.Estimate)
	return "[" + low + ", " + high + "]"
}

// intervalText is an estimate with its interval, for running text.
func intervalText(e pacer.Estimate, u unit) string {
	if r := rangeText(e, u); r != "" {
		return estimateText(e, u) + " " + r
	}
	return estimateText(e, u)
}

// estimateCells are an estimate and its interval as two cells of a table.
func estimateCells(e pacer.Estimate, u unit) []texttab.Cell {
	return []texttab.Cell{{Text: estimateText(e, u)}, {Text: rangeText(e, u), Style: term.Faint}}
}
