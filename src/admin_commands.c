/* SPDX-License-Identifier: ISC */
#include "admin_commands.h"

#include "admin_list.h"

static const struct admin_command admin_command_table[] = {
	{ "version", false, admin_version },
	{ "status", false, admin_status },
	{ "peers", false, admin_peers },
	{ "tunnels", false, admin_tunnels },
	{ "sessions", false, admin_sessions },
	{ "session", false, admin_session },
	{ "kill", true, admin_kill },
	{ "disconnect", true, admin_disconnect },
	{ "disable", true, admin_disable },
	{ "enable", true, admin_enable },
	{ "history", false, admin_history },
	{ "links", false, admin_links },
	{ "stats", false, admin_stats },
	{ "uptime", false, admin_uptime },
	{ "changes", false, admin_changes },
	{ "events", false, admin_events },
	{ "test", true, admin_test },
	{ "ping", false, admin_ping },
	{ "reload", true, admin_reload },
	{ "upgrade", true, admin_upgrade },
	{ "log-level", true, admin_log_level },
	{ "config", false, admin_config },
	{ NULL, false, NULL },
};

const struct admin_command *
admin_commands_table(void)
{
	return admin_command_table;
}

bool
admin_has_workers(const struct admin_context *context)
{
	return context->draining_us == 0 &&
	    admin_workers_count(context->workers) > 0;
}

bool
admin_refuse_draining(struct admin_request *request,
    const struct admin_context *context)
{
	if (context->draining_us != 0)
		admin_fail(request, "refused", "this worker is draining");
	else if (context->upgrading)
		admin_fail(request, "busy",
		    "an upgrade is under way: ask again");
	else
		return false;
	return true;
}
