package httpapi

import "time"

// Recheck is how often this API looks whether what opened a stream still stands.
func (a *API) Recheck(every time.Duration) { a.recheck = every }
