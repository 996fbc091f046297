package pth

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
)

const (
	maxPickle  = 128 << 20 // bytes; that of a model of 100,000 tensors has about 20 MB
	maxRecords = 1 << 20   // entries of the archive; a checkpoint has one per tensor
	maxName    = 4096      // bytes, of an entry or a tensor
)

// archive is the zip file: its records by their names below the archive's own directory.
type archive struct {
	r       io.ReaderAt
	records map[string]record
}

// record is an entry's bytes in the file.
type record struct {
	offset, size int64
	crc          uint32
}

// impostors are beginnings of files that are often found under such a name.
var impostors = []struct{ magic, message string }{
	{"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", "is in the format that PyTorch wrote before version 1.6, a bare pickle; " +
		"load it with PyTorch and save it again: torch.save(torch.load(FILE, weights_only=True), FILE)"},
	{"\x80", "is a bare pickle, not a zip file of torch.save; load it with what wrote it and save it with torch.save"},
	{"version https://git-lfs", "is a Git LFS pointer, not the weights; run git lfs pull, or download the file again"},
	{"GGUF", "is a GGUF file, not one of torch.save"},
	{"\x1f\x8b", "is compressed with gzip; decompress it first"},
	{"<!DOCTYPE", "is a web page, not weights; the download went wrong, download it again"},
	{"<html", "is a web page, not weights; the download went wrong, download it again"},
}

// openArchive reads the directory of the zip file. It reads by r, not from a mapping,
// so that a file that shrinks meanwhile is an error.
func openArchive(r io.ReaderAt, size int64) (*archive, error) {
	first := make([]byte, min(size, 32))
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, size), first); err != nil {
		return nil, fmt.Errorf("read the first bytes: %w", cause(err))
	}
	for _, i := range impostors {
		if bytes.HasPrefix(first, []byte(i.magic)) {
			return nil, errors.New(i.message)
		}
	}
	if !bytes.HasPrefix(first, []byte("PK")) {
		return nil, errors.New("is no zip file, as torch.save writes it; this is no PyTorch checkpoint or it is damaged")
	}
	z, err := zip.NewReader(r, size)
	if err != nil {
		return nil, fmt.Errorf("%w: the directory at the end of the zip file cannot be read; the file is truncated or damaged, download it again", err)
	}
	if len(z.File) > maxRecords {
		return nil, fmt.Errorf("zip file of %d entries, want at most %d", len(z.File), maxRecords)
	}
	root, err := findRoot(z.File)
	if err != nil {
		return nil, err
	}
	a := &archive{r: r, records: map[string]record{}}
	for _, f := range z.File {
		name, ok := strings.CutPrefix(f.Name, root)
		if !ok || strings.HasSuffix(name, "/") {
			continue
		}
		rec, err := checkEntry(f, size)
		if err != nil {
			return nil, fmt.Errorf("record %s: %w", quote(f.Name), err)
		}
		if _, ok := a.records[name]; ok {
			return nil, fmt.Errorf("record %s: is there twice; the file is damaged", quote(f.Name))
		}
		a.records[name] = rec
	}
	if order, ok := a.records["byteorder"]; ok {
		text, err := a.read(order, 16)
		if err != nil {
			return nil, fmt.Errorf("record \"byteorder\": %w", err)
		}
		if string(text) != "little" {
			return nil, fmt.Errorf("the elements' byte order is %s, little wanted; save the file on another machine", quote(string(text)))
		}
	}
	return a, nil
}

// findRoot gives the directory, with its slash, that everything in the archive is in. Its
// name is that of the file when it was written.
func findRoot(files []*zip.File) (string, error) {
	root, found := "", false
	for _, f := range files {
		if len(f.Name) > maxName {
			return "", fmt.Errorf("record with a name of %d bytes, want at most %d", len(f.Name), maxName)
		}
		dir, ok := strings.CutSuffix(f.Name, "data.pkl")
		if ok && strings.Count(dir, "/") == 1 && strings.HasSuffix(dir, "/") {
			if found {
				return "", fmt.Errorf("records %s and %s: one data.pkl wanted", quote(root+"data.pkl"), quote(f.Name))
			}
			root, found = dir, true
		}
	}
	if !found {
		return "", errors.New("zip file without a data.pkl, which says what tensors there are; this is no PyTorch checkpoint")
	}
	for _, f := range files {
		if f.Name == root+"constants.pkl" || strings.HasPrefix(f.Name, root+"code/") {
			return "", errors.New("is a TorchScript program, not a checkpoint; save its state_dict() with torch.save")
		}
	}
	return root, nil
}

// checkEntry locates an entry. torch.save never compresses; a compressed record could
// not be mapped, and a small file of them could ask for any amount of memory.
func checkEntry(f *zip.File, size int64) (record, error) {
	switch {
	case f.Flags&1 != 0:
		return record{}, errors.New("is encrypted")
	case f.Method != zip.Store || f.CompressedSize64 != f.UncompressedSize64:
		return record{}, errors.New("is compressed, which torch.save never does; unpack the zip file and pack it again without compression (zip -0)")
	}
	offset, err := f.DataOffset()
	if err != nil {
		return record{}, fmt.Errorf("%w; the file is damaged", err)
	}
	if offset < 0 || offset > size || f.UncompressedSize64 > uint64(size-offset) {
		return record{}, fmt.Errorf("%d bytes at %d end behind the file's %d bytes; the file is truncated, download it again", f.UncompressedSize64, offset, size)
	}
	return record{offset, int64(f.UncompressedSize64), f.CRC32}, nil
}

// read gives a record of at most most bytes and checks its sum.
func (a *archive) read(rec record, most int64) ([]byte, error) {
	if rec.size > most {
		return nil, fmt.Errorf("has %d bytes, want at most %d", rec.size, most)
	}
	data := make([]byte, rec.size)
	if _, err := io.ReadFull(io.NewSectionReader(a.r, rec.offset, rec.size), data); err != nil {
		return nil, fmt.Errorf("read %d bytes: %w", rec.size, cause(err))
	}
	if sum := crc32.ChecksumIEEE(data); sum != rec.crc {
		return nil, fmt.Errorf("its checksum is %08x, the zip file says %08x; the file is damaged, download it again", sum, rec.crc)
	}
	return data, nil
}
