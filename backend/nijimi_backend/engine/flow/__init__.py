"""What a flow-matching model is asked enters; its texts, its velocities and its steps leave."""
