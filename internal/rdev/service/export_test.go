package service

import "context"

// PruneNow removes what is too old now.
func (s *Service) PruneNow(ctx context.Context) error {
	_, err := s.prune(ctx)
	return err
}
