package train

// Plan compiles the graph of a micro-batch of B sequences of T tokens, of which at
// most rows count for the loss, with gradients or for evaluation, as the batch
// itself would. Of a trainer on a planning device ([tensor.Device.Plan]) it says
// what the batches of a run take: scratch is what all compiled so far need, in bytes.
func (t *Trainer) Plan(B, T, rows int, gradients bool) (scratch int, err error) {
	R := chunkRows(B*T, t.graphs.model.Dims().Vocab)
	if _, err := t.graphs.get(shape{B, T, (rows + R - 1) / R, gradients}); err != nil {
		return 0, err
	}
	return t.Scratch(), nil
}
