package data

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

// The file of kept tokens is a header and the ids, little-endian throughout:
//
//	 0  magic "lgtokens"
//	 8  uint32 version, uint32 bytes of an id, uint64 number of ids
//	24  the key
//	56  uint32 CRC-32C of the ids, uint32 CRC-32C of the 60 bytes before
//	64  ids
const (
	cacheMagic   = "lgtokens"
	cacheVersion = 1 // counts changes of the format and of how text is tokenized
	headerSize   = 64
)

// cacheKey stands for all that the tokens depend on: the tokenizer and the
// names, sizes and contents of the files in their order.
func cacheKey(tok Tokenizer, files []scan) (key [32]byte) {
	h := sha256.New()
	fmt.Fprintf(h, "%s %d %d\n%q\n", cacheMagic, cacheVersion, pieceSize, tok.Hash())
	for _, f := range files {
		fmt.Fprintf(h, "%q %d %x\n", filepath.Base(f.path), f.size, f.hash)
	}
	h.Sum(key[:0])
	return key
}

func header(w *tokenWriter, key [32]byte) []byte {
	h := make([]byte, 0, headerSize)
	h = append(h, cacheMagic...)
	h = binary.LittleEndian.AppendUint32(h, cacheVersion)
	h = binary.LittleEndian.AppendUint32(h, uint32(w.width))
	h = binary.LittleEndian.AppendUint64(h, w.count)
	h = append(h, key[:]...)
	h = binary.LittleEndian.AppendUint32(h, w.crc)
	return binary.LittleEndian.AppendUint32(h, crc32.Checksum(h, castagnoli))
}

// readCache maps a file of tokens and checks all of it. A file that is not there
// is os.ErrNotExist.
func readCache(path string, key [32]byte, width int) (*tokens, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, unmap, err := mapFile(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if err := checkCache(b, key, width); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), unmap())
	}
	return newTokens(b[headerSize:], width, unmap), nil
}

// checkCache compares a file of tokens with what it must be.
func checkCache(b []byte, key [32]byte, width int) error {
	if len(b) < headerSize {
		return fmt.Errorf("%d bytes are no file of tokens", len(b))
	}
	ids := b[headerSize:]
	// every field is known beforehand: nothing in the file needs to be trusted
	want := header(&tokenWriter{
		width: width,
		count: uint64(len(ids) / width),
		crc:   crc32.Checksum(ids, castagnoli),
	}, key)
	if len(ids)%width != 0 || string(b[:headerSize]) != string(want) {
		return errors.New("damaged: header and contents disagree")
	}
	return nil
}

// writeCache lets fill write tokens to a file under a temporary name, gives it
// its name and maps it. Trouble with the file is a *cacheError.
func writeCache(path string, key [32]byte, width int, fill func(*tokenWriter) error) (_ *tokens, err error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, &cacheError{err}
	}
	f, err := os.CreateTemp(dir, "*.tmp") // readable by its owner only, as private as the text may be
	if err != nil {
		return nil, &cacheError{err}
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	buf := bufio.NewWriterSize(f, 1<<20)
	w := &tokenWriter{w: buf, width: width}
	if _, err := buf.Write(make([]byte, headerSize)); err != nil {
		return nil, &cacheError{err}
	}
	if err := fill(w); err != nil {
		return nil, err
	}
	for _, step := range []func() error{
		buf.Flush,
		func() error { _, err := f.WriteAt(header(w, key), 0); return err },
		f.Sync,
		f.Close,
		func() error { return os.Rename(f.Name(), path) },
	} {
		if err := step(); err != nil {
			return nil, &cacheError{err}
		}
	}
	t, err := readCache(path, key, width)
	if err != nil {
		return nil, &cacheError{err}
	}
	return t, nil
}
