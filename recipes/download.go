package recipes

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/litgpt-go/litgpt/internal/settings"
	"github.com/litgpt-go/litgpt/models"
)

// Download lists the models known by name: "litgpt download list". For any other
// argument it says where the files are.
type Download struct {
	RepoID string `yaml:"repo_id" arg:"0" help:"list"`
}

var repository = regexp.MustCompile(`^[\w.-]+/[\w.-]+$`)

// Run prints the repositories, or returns an error that says where to get one's files.
func (d Download) Run(out io.Writer) error {
	if d.RepoID == "list" {
		return ListNames(out, func(s models.Shape) string { return s.Repo })
	}
	repo := d.RepoID
	if s, ok := models.FindShape(repo); ok {
		repo = s.Repo
	} else if !repository.MatchString(repo) {
		return unknownModel(fmt.Sprintf("%q is no model known by name", repo), repo)
	}
	return &settings.UsageError{
		Msg: fmt.Sprintf("download only lists names; get %s by hand", repo),
		Hint: "save config.json, generation_config.json, *.safetensors, *.safetensors.index.json and tokenizer* from https://huggingface.co/" + repo +
			"/tree/main in one directory, and name that directory wherever a checkpoint is wanted",
	}
}

// ListNames prints a line for each model known by name whose family is here, in
// the order of the alphabet.
func ListNames(out io.Writer, line func(models.Shape) string) error {
	var lines []string
	for _, s := range models.Shapes() {
		architecture, err := models.Architecture(s.Config)
		if err != nil {
			return err
		}
		if models.Supported(architecture) {
			lines = append(lines, line(s))
		}
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	_, err := fmt.Fprintln(out, strings.Join(lines, "\n"))
	return err
}

// unknownModel is the error msg with the nearest known name.
func unknownModel(msg, name string) error {
	var known []string
	for _, s := range models.Shapes() {
		known = append(known, s.Name, s.Repo)
	}
	if near := settings.Nearest(name, known); near != "" {
		msg += fmt.Sprintf(" (did you mean %q?)", near)
	}
	return &settings.UsageError{Msg: msg, Hint: "litgpt pretrain list shows the names"}
}
