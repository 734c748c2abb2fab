"""How the embedded model was made: code and packages enter, weights leave."""
