package retention

func (a *analysis) hints() error { return nil }
