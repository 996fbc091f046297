package jinja

// node is a statement.
type node interface{}

// expr is an expression.
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
		targets   []string
		unpack    bool // more than one target, or one with a comma
		items     expr
		cond      expr // nil: every item
		body      []node
		otherwise []node
		recursive bool
	}
	setNode struct {
		line    int
		targets []expr
		value   expr // nil: the text of body, through filters
		body    []node
		filters []*filterExpr
	}
	macroNode struct {
		line int
		name string
		signature
		body []node
	}
	callNode struct {
		line int
		call expr
		signature
		body []node
	}
	filterNode struct {
		line    int
		filters []*filterExpr
		body    []node
	}
	withNode struct {
		line   int
		names  []string
		values []expr
		body   []node
	}
	scopeNode    struct{ body []node }
	breakNode    struct{}
	continueNode struct{}
)

// signature is the parameters of a macro; a nil default is none.
type signature struct {
	params   []string
	defaults []expr
}

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
		pos    []expr
		names  []string
		values []expr
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
	condExpr struct{ cond, yes, no expr }
)
