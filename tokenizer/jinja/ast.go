package jinja

// node is a statement.
type node interface{}

// expr is an expression; nameExpr, tupleExpr and attrExpr of a name are also what can
// be assigned to.
type expr interface{}

type (
	dataNode   struct{ text string }
	outputNode struct {
		line  int
		value expr
	}
	ifNode struct {
		line      int
		conds     []expr
		bodies    [][]node // as many as conds
		otherwise []node
	}
	forNode struct {
		line      int
		target    expr
		items     expr
		cond      expr // nil: every item
		body      []node
		otherwise []node
		recursive bool

		symbols, condSymbols, elseSymbols *symbols
	}
	setNode struct {
		line    int
		target  expr
		value   expr // nil: the text of body, through filters
		body    []node
		filters []*filterExpr
		symbols *symbols // of body
	}
	macroNode struct {
		line       int
		name       string
		params     []string
		defaults   []expr          // of params; nil is none
		uses       map[string]bool // of caller, kwargs and varargs, those that body reads
		body       []node
		generation bool // a generation block of transformers
		symbols    *symbols
	}
	callNode struct {
		line int
		call callExpr
		body *macroNode
	}
	filterNode struct {
		line    int
		filters []*filterExpr
		body    []node
		symbols *symbols
	}
	withNode struct {
		line    int
		targets []expr
		values  []expr
		body    []node
		symbols *symbols
	}
	blockNode struct {
		line   int
		name   string
		scoped bool
		body   []node

		symbols *symbols
	}
	generationNode struct {
		line int
		body *macroNode
	}
	scopeNode struct {
		body    []node
		symbols *symbols
	}
	breakNode    struct{}
	continueNode struct{}
)

type (
	constExpr  struct{ value any }
	nameExpr   struct{ name string }
	listExpr   struct{ items []expr }
	tupleExpr  struct{ items []expr }
	dictExpr   struct{ keys, values []expr }
	concatExpr struct{ items []expr } // a ~ b
	attrExpr   struct {
		of   expr
		name string
	}
	itemExpr  struct{ of, index expr }
	sliceExpr struct{ of, from, to, step expr }
	argsExpr  struct {
		pos            []expr
		names          []string
		values         []expr
		star, starStar expr // *args and **kwargs; nil is none
	}
	callExpr struct {
		of   expr
		args argsExpr
	}
	filterExpr struct {
		in   expr
		name string
		args argsExpr
	}
	testExpr struct {
		in   expr
		name string
		args argsExpr
	}
	unaryExpr struct {
		op string // "not", "-", "+"
		x  expr
	}
	binaryExpr struct {
		op   string
		a, b expr
	}
	// compareExpr is a < b <= c.
	compareExpr struct {
		first expr
		ops   []string
		rest  []expr
	}
	// condExpr is yes if cond else no; a nil no is undefined.
	condExpr struct {
		line          int
		cond, yes, no expr
	}
)
