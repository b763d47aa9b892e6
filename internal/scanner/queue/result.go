package queue

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"

	"stella/internal/bytesize"
	"stella/internal/scanner"
	"stella/internal/store"
)

const (
	// MaxSubject bounds what an SBOM says of an image: its labels and layers. A
	// registry's manifest, which has most of it, is at most 4 MiB.
	MaxSubject = 8 << 20
	// maxInventory bounds a result. One of 258,000 files with 20,000 packages has 12 MB.
	maxInventory = 1 << 30
	// chunkSize is what is in memory of an inventory at one time.
	chunkSize = 256 << 10
)

// keepResult keeps an inventory under its digest, where it is not there yet, and what belongs to the job alone.
func keepResult(ctx context.Context, tx *store.Tx, e Ended) error {
	var blob, size int64
	// The size is set when all chunks are there, in the same transaction: above 0 it is complete.
	// The update has an effect: while it is not committed, Prune does not remove the blob.
	_, err := tx.Get(ctx, `INSERT INTO blobs (digest, size) VALUES ($1, 0) ON CONFLICT (digest) DO UPDATE SET size = blobs.size RETURNING id, size`,
		[]any{e.Result.Inventory}, &blob, &size)
	if err != nil {
		return err
	}
	if err := keepChunks(ctx, tx, e, blob, size > 0); err != nil {
		return err
	}
	if size == 0 {
		if _, err := tx.Exec(ctx, `UPDATE blobs SET size = $2 WHERE id = $1`, blob, e.Result.Size); err != nil {
			return err
		}
	}
	document := e.Subject
	if document == nil {
		document = []byte{}
	}
	_, err = tx.Exec(ctx, `INSERT INTO results (job, blob, document) VALUES ($1, $2, $3)`, e.Job, blob, document)
	return err
}

// keepChunks checks the inventory, and writes it unless it is there.
func keepChunks(ctx context.Context, tx *store.Tx, e Ended, blob int64, there bool) error {
	if _, err := e.Inventory.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("its inventory: %w", err)
	}
	digest, size := sha256.New(), int64(0)
	buf := make([]byte, min(chunkSize, max(e.Result.Size, 1)))
	for number := 0; ; number++ {
		n, err := io.ReadFull(e.Inventory, buf)
		if n > 0 {
			digest.Write(buf[:n])
			size += int64(n)
			if size > maxInventory {
				return fmt.Errorf("its inventory has more than %s, the most that is kept", bytesize.Text(maxInventory))
			}
			if !there {
				if _, err := tx.Exec(ctx, `INSERT INTO chunks (blob, number, data) VALUES ($1, $2, $3)`, blob, number, buf[:n]); err != nil {
					return err
				}
			}
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			break
		}
		if err != nil {
			return fmt.Errorf("its inventory: %w", err)
		}
	}
	if got := "sha256:" + hex.EncodeToString(digest.Sum(nil)); got != e.Result.Inventory || size != e.Result.Size {
		return fmt.Errorf("its inventory is %s with %d bytes, and should be %s with %d", got, size, e.Result.Inventory, e.Result.Size)
	}
	return nil
}

// Subject is what the attempt said of the image. The job must have succeeded; see [Queue.Inventory].
func (q *Queue) Subject(ctx context.Context, id int64) ([]byte, error) {
	var subject []byte
	err := q.read(ctx, func(tx *store.Tx) error {
		found, err := tx.Get(ctx, `SELECT document FROM results WHERE job = $1`, []any{id}, &subject)
		if err == nil && !found {
			err = noResult(ctx, tx, id)
		}
		return err
	})
	return subject, err
}

// Inventory writes a job's inventory to w, 256 KiB at a time, each read in its own
// transaction, so that a slow reader holds nothing. A job that has not succeeded is
// [scanner.ErrConflict].
func (q *Queue) Inventory(ctx context.Context, id int64, w io.Writer) error {
	for number := 0; ; number++ {
		data, last, err := q.chunk(ctx, id, number)
		if err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return fmt.Errorf("inventory of job %d: %w", id, err)
		}
		if last {
			return nil
		}
	}
}

func (q *Queue) chunk(ctx context.Context, id int64, number int) (data []byte, last bool, err error) {
	err = q.read(ctx, func(tx *store.Tx) error {
		var size int64
		found, err := tx.Get(ctx, `SELECT b.size, c.data FROM results r JOIN blobs b ON b.id = r.blob JOIN chunks c ON c.blob = r.blob
			WHERE r.job = $1 AND c.number = $2`, []any{id, number}, &size, &data)
		if err == nil && !found {
			err = noResult(ctx, tx, id)
		}
		last = int64(number)*chunkSize+int64(len(data)) >= size
		return err
	})
	return data, last, err
}

// noResult says why a job has none.
func noResult(ctx context.Context, tx *store.Tx, id int64) error {
	r, err := find(ctx, tx, id)
	switch {
	case err != nil:
		return err
	case r.Status == scanner.StatusSucceeded:
		return fmt.Errorf("the result of job %d is not in the database, although the job has succeeded", id)
	}
	return scanner.Errorf(scanner.ErrConflict, "job %d has no result: it is %s", id, r.Status)
}
