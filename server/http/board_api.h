#ifndef BREAKER_HTTP_BOARD_API_H_
#define BREAKER_HTTP_BOARD_API_H_

#include <string>

#include "server/engine/clock.h"
#include "server/engine/registry.h"
#include "server/http/board_feed.h"
#include "server/http/event_streams.h"
#include "server/http/http_server.h"
#include "server/operations.h"
#include "server/publisher.h"
#include "server/store/store_writer.h"

namespace breaker::server {

// What the board asks of the daemon: the breakers, their history and news of them, open to all;
// and, for who has the token, an operator's hand on them. Thread-safe.
class BoardApi {
 public:
  // None is owned; all must outlive this.
  struct Sources {
    Registry* registry;
    Operations* operations;
    Publisher* publisher;
    StoreWriter* writer;
    BoardFeed* feed;
    EventStreams* streams;
    const Clock* clock;
  };

  // `admin_token` empty: nobody may change anything.
  BoardApi(const Sources& sources, std::string admin_token)
      : sources_(sources), admin_token_(std::move(admin_token)) {}

  // Puts in what there is, and the page itself. This must outlive whoever uses the routes.
  void AddTo(HttpRoutes* routes);

 private:
  HttpResponse Breakers(const HttpRequest& request);
  HttpResponse Breaker(const HttpRequest& request);
  HttpResponse History(const HttpRequest& request);
  HttpResponse Events();

  // Runs act(request, body) for who has the token.
  template <typename Act>
  HttpRoutes::Handler ForAdmins(Act act);
  // Starts an operation on the breaker that the body names, and answers its row when it is done.
  template <typename Start>
  HttpResponse Operate(const nlohmann::json& body, Start start);

  const Sources sources_;
  const std::string admin_token_;
};

}  // namespace breaker::server

#endif  // BREAKER_HTTP_BOARD_API_H_
