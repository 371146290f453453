// The interactive prompt, by libedit.
#ifndef MF_CLI_PROMPT_H
#define MF_CLI_PROMPT_H

struct cli_session;

// Reads lines from the terminal and carries them out until Ctrl-D, `quit` or `exit`. CLI_YES, or
// CLI_NO after a line on stderr when there can be no prompt.
int cli_prompt(struct cli_session *session);

#endif
