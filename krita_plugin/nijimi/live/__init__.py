"""Canvas changes enter and updates leave; frames enter and pictures on the canvas leave."""
