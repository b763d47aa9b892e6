package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// stopTime bounds how long requests that run may go on once a server is being stopped.
const stopTime = 5 * time.Second

// Serve answers on a listener until ctx ends, and then until the requests that run
// are answered, or five seconds have passed: what they use may be closed afterwards.
func Serve(ctx context.Context, s *http.Server, l net.Listener) error {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		if s.Shutdown(ctx) != nil {
			s.Close()
		}
	})
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return fmt.Errorf("listen on %s: %w", l.Addr(), err)
	}
	<-stopped
	return nil
}
