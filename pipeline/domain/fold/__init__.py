"""The fold of the FUNNEL agent: one input record after the other changes the state and says what changed."""
