/* A C++17 host: a page of RAII around the C API.  A Runtime closes itself, a Group
   cancels what belongs to an object when that dies, and a function object may be called from
   another thread.  Nothing of it is needed; all of it is here to be taken along. */
#include <lua.hpp>
#include <lull.h>

#include <cstdio>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

/* ---- the wrapper ------------------------------------------------------------------- */

namespace embed {

inline void check(int rc)
{
    if (rc < 0)
        throw std::runtime_error("lull: error " + std::to_string(-rc));
}

/* A struct of the API with its size filled in. */
template <class T> T sized()
{
    T t{};
    t.size = sizeof t;
    return t;
}

class Runtime {
public:
    explicit Runtime(const lull_options &options = sized<lull_options>())
    {
        lull *l = nullptr;
        check(lull_open(&l, &options));
        l_.reset(l);
    }
    lull *get() const { return l_.get(); }
    lua_State *state() const { return lull_state(get()); }

    /* Starts a script as a task. */
    lull_task spawn(const std::string &script, lull_group *group = nullptr)
    {
        auto options = sized<lull_task_options>();
        lull_task task = 0;
        options.group = group;
        if (luaL_loadbuffer(state(), script.data(), script.size(), "=script") != LUA_OK) {
            std::string why = lua_tostring(state(), -1);
            lua_pop(state(), 1);
            throw std::runtime_error(why);
        }
        check(lull_task_spawn(get(), state(), 0, &options, &task));
        return task;
    }

    /* Until every task has ended; an error that nobody looked at is thrown. */
    void run()
    {
        int rc = lull_run(get());
        auto failure = sized<lull_failure>();
        if (lull_take_failure(get(), &failure))
            throw std::runtime_error(std::string(failure.name) + ": " + failure.message);
        check(rc);
    }

    /* From any thread: calls fn(l) on the runtime's; it must not throw. */
    void call(std::function<void(lull *)> fn)
    {
        auto heap = std::make_unique<std::function<void(lull *)>>(std::move(fn));
        check(lull_call(get(), called, heap.get(), 0));
        heap.release();
    }

private:
    static void called(lull *l, void *ud)
    {
        std::unique_ptr<std::function<void(lull *)>> fn(
            static_cast<std::function<void(lull *)> *>(ud));
        if (l != nullptr)
            (*fn)(l);
    }
    struct Close {
        void operator()(lull *l) const { lull_close(l, 0); }
    };
    std::unique_ptr<lull, Close> l_;
};

/* The tasks of an object: a member of it. */
class Group {
public:
    explicit Group(const Runtime &r)
    {
        lull_group *g = nullptr;
        check(lull_group_new(r.get(), nullptr, &g));
        g_.reset(g);
    }
    lull_group *get() const { return g_.get(); }

private:
    struct Free {
        void operator()(lull_group *g) const { lull_group_free(g); }
    };
    std::unique_ptr<lull_group, Free> g_;
};

} // namespace embed

/* ---- the host ---------------------------------------------------------------------- */

/* A Lua error is a longjmp where Lua was compiled as C: where one may pass, as in the two
   functions below, there is no object with a destructor. */
static int answer(lua_State *L, void *ud)
{
    if (L != nullptr)
        lua_pushstring(L, static_cast<const char *>(ud));
    return L != nullptr;
}

/* ask (question) -> text */
static int ask(lua_State *L)
{
    bool loud = luaL_checkinteger(L, 1) > 1;
    lull_promise *promise = lull_promise_new(L, nullptr, nullptr);
    static char yes[] = "yes", very[] = "YES";
    std::thread(lull_promise_resolve, promise, answer, loud ? very : yes).detach();
    return lull_await_own(L, nullptr, 0);
}

struct Monster {
    explicit Monster(embed::Runtime &r) : tasks(r)
    {
        r.spawn("local _ <close> = lull.defer(print, 'the monster has died') "
                "while true do lull.sleep(0.001) end",
                tasks.get());
    }
    embed::Group tasks; // ends with it
};

int main()
try {
    embed::Runtime runtime;
    lua_register(runtime.state(), "ask", ask);

    runtime.spawn("print(ask(1), ask(2))");
    runtime.run();

    auto monster = std::make_unique<Monster>(runtime);
    std::thread knight([&] { runtime.call([&](lull *) { monster.reset(); }); });
    runtime.run();
    knight.join();

    runtime.spawn("error('it was thrown')");
    runtime.run();
    return 1;
} catch (const std::exception &e) {
    std::printf("caught %s\n", e.what());
    return 0;
}
